// Cubic B-spline coefficients along one axis, in place: (c[i-1] + 4 c[i] + c[i+1]) / 6 = x[i] by elimination.
//
// Layout: x is [outer, length, inner]; one thread a line. `lower` is the entry below the diagonal divided by the pivot above,
// `pivot` one over the pivot, `upper` the entry above the diagonal, all of them by row. Boundary: mirrored, in the factors.

KERNEL(eliminate,
    (int lines, int length, int inner, const Real *lower, const Real *pivot, const Real *upper, Real *x),
    EACH_VOXEL(line, lines) {
        Real *here = x + (Offset)(line / inner) * length * inner + line % inner;
        for (int i = 1; i < length; i++) {
            here[(Offset)i * inner] = real::fma(here[(Offset)(i - 1) * inner], -lower[i], here[(Offset)i * inner]);
        }
        for (int i = length - 1; i >= 0; i--) {
            Real value = here[(Offset)i * inner];
            if (i + 1 < length) {
                value = real::fma(here[(Offset)(i + 1) * inner], -upper[i], value);
            }
            here[(Offset)i * inner] = value * pivot[i];
        }
    })
