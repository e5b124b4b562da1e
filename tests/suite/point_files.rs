//! Landmarks lie where their files say, in each of the spaces that files use.

use stillpoint::{Grid, PointSpace, Points};

fn read(text: &str, space: PointSpace<'_>) -> stillpoint::Result<Points> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("points.csv");
    std::fs::write(&path, text).unwrap();
    Points::read(&path, space)
}

#[test]
fn ants_csv() {
    let text =
        "\u{feff}x,y,z,t,label,comment\r\n1,2,3,0,7,\"front, left\"\r\n\r\n-4.5,0,6e1,0,8,\r\n";
    let points = read(text, PointSpace::Lps).unwrap();
    assert_eq!(points.positions, [[-1.0, -2.0, 3.0], [4.5, 0.0, 60.0]]);
    assert_eq!(points.columns, ["t", "label", "comment"]);
    assert_eq!(points.extra[0], ["0", "7", "front, left"]);
    let same = read(text, PointSpace::Ras).unwrap();
    assert_eq!(same.positions[0], [1.0, 2.0, 3.0]);
    // Written and read again, nothing has changed.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.csv");
    points.write(&path).unwrap();
    assert_eq!(Points::read(&path, PointSpace::Lps).unwrap(), points);
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(
        written.starts_with("x,y,z,t,label,comment\n1,2,3,0,7,\"front, left\"\n"),
        "{written}"
    );
    // Without other columns ANTs still wants t.
    Points::new(vec![[0.0, 1.0, 2.0]]).write(&path).unwrap();
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "x,y,z,t\n0,-1,2,0\n"
    );
    // In 2D there may be no z.
    assert_eq!(
        read("x,y\n1,2\n", PointSpace::Lps).unwrap().positions,
        [[-1.0, -2.0, 0.0]]
    );
}

#[test]
fn vtk_points_scaled_by_the_spacing() {
    let text = "# vtk DataFile Version 3.0\nvtk output\nASCII\nDATASET POLYDATA\nPOINTS 3 float\n2 6 8 4 9 12 \n0 0 0\nVERTICES 3 6\n1 0\n";
    let turned = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
    let grid = Grid::new(&[9, 9, 9], &[2.0, 3.0, 4.0], [10.0, 20.0, 30.0], turned).unwrap();
    let points = read(text, PointSpace::Scaled(&grid)).unwrap();
    // Index (1, 2, 2), whose axes run along y, -x and z.
    assert_eq!(points.positions[0], [10.0 - 6.0, 20.0 + 2.0, 38.0]);
    assert_eq!(points.positions[2], [10.0, 20.0, 30.0]);
    assert_eq!(points.positions.len(), 3);
}

#[test]
fn what_is_wrong_is_named() {
    let vtk = "# vtk DataFile Version 3.0\ntitle\nASCII\nDATASET POLYDATA\n";
    for (text, found) in [
        ("".to_owned(), "columns x, y"),
        ("a,b,c\n1,2,3\n".to_owned(), "columns x, y"),
        ("x,y,z\n".to_owned(), "no points"),
        ("x,y,z\n1,2\n".to_owned(), "line 2: expected 3 columns"),
        ("x,y,z\n1,2,3\n1,2,what\n".to_owned(), "line 3"),
        ("x,y,z\n1,NaN,3\n".to_owned(), "line 2"),
        (vtk.to_owned(), "without POINTS"),
        (format!("{vtk}POINTS many float\n"), "number behind POINTS"),
        (format!("{vtk}POINTS 2 float\n1 2 3\n4 5\n"), "cut off"),
        (
            format!("{vtk}POINTS 99999999999999999999 float\n1 2 3\n"),
            "number behind POINTS",
        ),
        (
            format!("{vtk}POINTS 9999999999999999999 float\n1 2 3\n"),
            "cut off",
        ),
        (vtk.replace("ASCII", "BINARY"), "ASCII"),
    ] {
        let error = read(&text, PointSpace::Ras).unwrap_err().to_string();
        assert!(
            error.contains(found) && error.contains("points.csv"),
            "{found:?} is not in {error:?}"
        );
    }
    let mut points = Points::new(vec![[0.0; 3]]);
    points.columns.push("label".into());
    assert!(points.write("never.csv").is_err());
}
