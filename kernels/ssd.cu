// The fused pass of the feature-SSD energy.
//
//   value   1/2 sum_x m(x) sum_c a_c r_c(x)^2,  r_c = M_c(map(x + u)) - F_c(x)
//   model   beside it the gradient g = m sum_c a_c r_c J_c, with J_c = B' grad M_c, and the Gauss-Newton blocks: the vector
//           sqrt(m a) J of one channel, or the packed entries of m sum_c a_c J_c J_c'; or the packed Hessian, to which
//           m sum_c a_c r_c B' (Hess M_c) B is added
//
// With differences of u, their energy comes along and their force is added to g; with `pull`, g and the blocks are then
// carried to compositive steps, P' g and P' B P. The value adds the two energies up; the sums are halved by the caller.
//
// Gradient (G) and blocks (B) may be stored in half of the precision, times factors that keep them in range; where they are not, the
// factor is 1.
//
// Layout: features [channels, ...] on their own grids, mask [...], u, gradient and blocks [components, ...] on the fixed
// grid. Boundary: as in sample.cuh and near.cuh.

// Most channels of a map: their weights are an argument of the kernel.
#define CHANNELS 256

struct ChannelWeights {
    Real of[CHANNELS];
};

// What a pass does with the displacement itself.
struct Smoothness {
    int looks, pull;
    Weights weights;
};

// WHAT: 0 value, 1 gradient and vector, 2 gradient and blocks, 3 gradient and Hessian.
template <int D, bool CUBIC, int WHAT, class G, class B>
__device__ void ssd(const Frame &frame, int channels, const ChannelWeights &channel_weights, const Smoothness &smoothness, const Real *fixed,
                    const Real *moving, const Real *mask, const Real *u, Real of_gradient, Real of_blocks,
                    G *gradient, B *blocks, double *parts) {
    const int n = voxels<D>(frame.fixed);
    const Offset moving_voxels = voxels<D>(frame.moving);
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, n) {
        const Cell<D> cell = cell_of<D, CUBIC>(frame, u, n, v);
        const Real counts = mask ? mask[v] : 1.0f;
        Real energy = 0.0f;
        Real g[D], block[D * (D + 1) / 2];
        for (int a = 0; a < D; a++) {
            g[a] = 0.0f;
        }
        for (int k = 0; k < D * (D + 1) / 2; k++) {
            block[k] = 0.0f;
        }
        for (int c = 0; c < channels; c++) {
            const Sampled<D> at = sampled<D, CUBIC>(moving + c * moving_voxels, cell, frame);
            const Real weight = counts * channel_weights.of[c];
            const Real r = at.value - fixed[(Offset)c * n + v];
            const Real wr = r * weight;
            energy = real::fma(wr, r, energy);
            if (WHAT == 0) {
                continue;
            }
            Real j[D];
            pull_gradient<D>(frame, at.slope, j);
            for (int a = 0; a < D; a++) {
                g[a] = real::fma(wr, j[a], g[a]);
            }
            if (WHAT == 1) {
                const Real root = real::sqrt(weight);
                for (int a = 0; a < D; a++) {
                    block[a] = root * j[a];
                }
            } else {
                for (int a = 0; a < D; a++) {
                    for (int b = a; b < D; b++) {
                        block[packed<D>(a, b)] = real::fma(weight * j[a], j[b], block[packed<D>(a, b)]);
                    }
                }
            }
            if (WHAT == 3) {
                Real by_step[D * (D + 1) / 2];
                pull_hessian<D>(frame, at.bend, by_step);
                for (int k = 0; k < D * (D + 1) / 2; k++) {
                    block[k] = real::fma(wr, by_step[k], block[k]);
                }
            }
        }
        part[0] += (double)energy;
        if (smoothness.looks) {
            const Near<D> near = near_at<D>(u, frame.fixed, v, smoothness.weights);
            part[1] += (double)near.energy;
            for (int a = 0; a < D; a++) {
                g[a] += near.force[a];
            }
            if (WHAT != 0 && smoothness.pull) {
                pull<D>(near.slope, g);
                if (WHAT == 1) {
                    Real vector[D];
                    for (int a = 0; a < D; a++) {
                        vector[a] = block[a];
                    }
                    pull<D>(near.slope, vector);
                    for (int a = 0; a < D; a++) {
                        block[a] = vector[a];
                    }
                } else {
                    pull_block<D>(near.slope, block);
                }
            }
        }
        if (WHAT != 0) {
            for (int a = 0; a < D; a++) {
                store(&gradient[(Offset)a * n + v], g[a] * of_gradient);
            }
            for (int k = 0; k < (WHAT == 1 ? D : D * (D + 1) / 2); k++) {
                store(&blocks[(Offset)k * n + v], block[k] * of_blocks);
            }
        }
    }
    block_sums<2>(part, parts);
}

#define SSD(name, D, CUBIC, WHAT, G, B)                                                                             \
    KERNEL(name,                                                                                                    \
        (Frame frame, int channels, ChannelWeights channel_weights, Smoothness smoothness, const Real *fixed, const Real *moving,            \
         const Real *mask, const Real *u, Real of_gradient, Real of_blocks, G *gradient, B *blocks,             \
         double *parts),                                                                                            \
        ssd<D, CUBIC, WHAT, G, B>(frame, channels, channel_weights, smoothness, fixed, moving, mask, u, of_gradient, of_blocks,      \
                                  gradient, blocks, parts))

// Both of the whole precision, blocks alone of half of it, both.
#define MODELS(D, how, CUBIC, storage, G, B)                                                                        \
    SSD(vector_##how##_##storage##_##D, D, CUBIC, 1, G, B)                                                          \
    SSD(blocks_##how##_##storage##_##D, D, CUBIC, 2, G, B)                                                          \
    SSD(newton_##how##_##storage##_##D, D, CUBIC, 3, G, B)

#define ALL_FULL(D)                                                                                                 \
    SSD(value_linear_full_##D, D, false, 0, Real, Real)                                                           \
    SSD(value_cubic_full_##D, D, true, 0, Real, Real)                                                             \
    MODELS(D, linear, false, full, Real, Real)                                                                    \
    MODELS(D, cubic, true, full, Real, Real)

#define ALL_HALF(D)                                                                                                 \
    MODELS(D, linear, false, half, Half, Half)                                                                      \
    MODELS(D, cubic, true, half, Half, Half)                                                                        \
    MODELS(D, linear, false, half_blocks, Real, Half)                                                              \
    MODELS(D, cubic, true, half_blocks, Real, Half)

#if RANK != 3 && STORAGE != 16
ALL_FULL(2)
#endif
#if RANK != 2 && STORAGE != 16
ALL_FULL(3)
#endif
#if RANK != 3 && STORAGE != 32
ALL_HALF(2)
#endif
#if RANK != 2 && STORAGE != 32
ALL_HALF(3)
#endif
