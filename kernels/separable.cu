// One axis of a separable filter: out(.., o, ..) = sum_k w(k, o) x(.., start(o) + k, ..).
//
// Layout: x is [outer, inputs, inner], the result [outer, outputs, inner], both contiguous; the weight of tap k of output o
// is weights[k * outputs + o]. Boundary: the table's own, which never reaches outside.

KERNEL(along_axis,
    (int n, int inputs, int outputs, int inner, int taps, const int *start, const Real *weights, const Real *x,
     Real *out),
    EACH_VOXEL(v, n) {
        const int o = v / inner % outputs;
        const Real *from = x + ((Offset)(v / inner / outputs) * inputs + start[o]) * inner + v % inner;
        Real sum = 0.0f;
        for (int k = 0; k < taps; k++) {
            sum = real::fma(from[(Offset)k * inner], weights[k * outputs + o], sum);
        }
        out[v] = sum;
    })
