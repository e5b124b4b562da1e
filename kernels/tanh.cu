// The hyperbolic tangent of every element, and its adjoint at the tangent t: g (1 - t^2).
//
// Layout: n elements, in any shape. There is no boundary.

__device__ Real tangent(Real x) {
#if REAL == 64
    return ::tanh(x);
#else
    return ::tanhf(x);
#endif
}

// Not a number for what is infinite, as on the CPU.
KERNEL(value, (int n, const Real *x, Real *out), EACH_VOXEL(i, n) { out[i] = tangent(x[i]) + (x[i] - x[i]); })
KERNEL(back, (int n, const Real *t, const Real *g, Real *out),
    EACH_VOXEL(i, n) { out[i] = g[i] * ((Real)1.0f - t[i] * t[i]); })
