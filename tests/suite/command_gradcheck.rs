//! `stillpoint gradcheck`, the built program.

use serde_json::Value;

use crate::program::Program;

#[test]
fn gradients_are_true_and_memory_is_flat() {
    let program = Program::new();
    let text = program.output("gradcheck --size 24 --out-prefix g/check --json");
    let report: Value = serde_json::from_str(&text).unwrap();
    let file = std::fs::read_to_string(program.path("g/check.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&file).unwrap(), report);
    let picture = std::fs::read(program.path("g/check.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));

    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 15);
    for case in cases {
        assert_eq!(case["strict_minimum"], true, "{case}");
        let error = case["finite_difference_error"].as_f64().unwrap();
        assert!(error < 1e-6, "{case}");
    }
    let cosine = |mode: &str, policy: &str| {
        let policies = report["policies"].as_array().unwrap();
        let found = policies
            .iter()
            .find(|p| p["mode"] == mode && p["policy"]["policy"] == policy);
        found.unwrap()["cosine"].as_f64().unwrap()
    };
    assert!(cosine("certified", "exact") > 1.0 - 1e-12);
    assert!(cosine("certified", "gauss-newton") > cosine("certified", "jacobian-free"));
    assert!(cosine("fast", "gauss-newton") > 0.8);

    let memory = report["memory"].as_array().unwrap();
    let bytes = |at: usize, key: &str| memory[at][key].as_f64().unwrap();
    let last = memory.len() - 1;
    // sixteen times the iterations
    assert!(bytes(last, "implicit_bytes") < 1.5 * bytes(0, "implicit_bytes"));
    assert!(bytes(last, "unrolled_bytes") > 4.0 * bytes(0, "unrolled_bytes"));
}

#[test]
fn arguments_that_make_no_sense_are_refused() {
    let program = Program::new();
    for (words, expected) in [
        ("gradcheck --lambda 0", "--lambda must be positive"),
        ("gradcheck --fixed a.nii", "--moving"),
        ("gradcheck --size 4", "4 is not in 8..=512"),
    ] {
        let output = program.run(words);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert!(!program.path("out").exists());
}
