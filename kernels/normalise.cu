// Normalisation of channels with the leaky rectifier that follows it, and its adjoint.
//
//   value   y = max(z, slope z),  z = gain (x - m) r + offset, with m the mean over a group of channels and all voxels of an item and
//           r one over the square root of the variance + epsilon
//   back    from the cotangent g of y, with d = g where z >= slope z and slope g elsewhere, p the product d (x - m) r:
//           of gain sum p, of offset sum d, of x  gain r d - (x - m) r^2 mean(gain p) - r mean(gain d)
//
// Layout: x is [items, channels, voxels]; a run is a channel of an item, a group so many runs (`together`) one after the other;
// statistics are [groups, 2] doubles, m and r. There is no boundary.
// Order: sums are of doubles, piece by piece; the pieces of a run or group are added up in order.

// Sums of x - x[0] and of their squares, over pieces of every group.
__device__ void moments(const Pieces &pieces, const Real *x, double *parts) {
    EACH_TASK(task, pieces) {
        const Real *group = x + (Offset)(task / pieces.count) * pieces.voxels;
        const double first = (double)group[0];
        double part[2] = {0.0, 0.0};
        EACH_IN_PIECE(v, task, pieces) {
            const double gap = (double)group[v] - first;
            part[0] += gap;
            part[1] += gap * gap;
        }
        block_totals<2>(part, parts + 2 * task);
    }
}

__device__ void statistics_of(const Pieces &pieces, double epsilon, const Real *x, const double *parts, double *statistics) {
    EACH_VOXEL(group, pieces.tiles) {
        double sum[2];
        sums_of_tile<2>(group, pieces, parts, sum);
        const double gap = sum[0] / pieces.voxels;
        const double variance = fmax(sum[1] / pieces.voxels - gap * gap, 0.0);
        statistics[2 * group] = (double)x[(Offset)group * pieces.voxels] + gap;
        statistics[2 * group + 1] = 1.0 / ::sqrt(variance + epsilon);
    }
}

// What a run is multiplied with once `centre` is taken off, and what is added then.
struct Scaling {
    Real centre, factor, offset;
};

// Channels of an item, and how many of them are a group.
struct Groups {
    int channels, together;
};

__device__ Scaling scaling(int run, const Groups &groups, const double *statistics, const Real *gain, const Real *offset) {
    const double *of = statistics + 2 * (run / groups.together);
    const int c = run % groups.channels;
    Scaling scaling;
    scaling.centre = (Real)of[0];
    scaling.factor = (Real)((double)gain[c] * of[1]);
    scaling.offset = offset[c];
    return scaling;
}

__device__ void activate(int n, int voxels, const Groups &groups, Real slope, const double *statistics, const Real *gain,
                         const Real *offset, const Real *x, Real *y) {
    EACH_VOXEL(v, n) {
        const Scaling scale = scaling(v / voxels, groups, statistics, gain, offset);
        const Real z = real::fma(x[v] - scale.centre, scale.factor, scale.offset);
        y[v] = real::max(z, z * slope);
    }
}

// The cotangent of z.
__device__ Real inner(Real gap, Real g, const Scaling &scale, Real slope) {
    const Real z = real::fma(gap, scale.factor, scale.offset);
    return z >= z * slope ? g : g * slope;
}

// Sums of d and d (x - m) over pieces of every run.
__device__ void back_sums(const Pieces &pieces, const Groups &groups, Real slope, const double *statistics, const Real *gain,
                          const Real *offset, const Real *x, const Real *g, double *parts) {
    EACH_TASK(task, pieces) {
        const int run = task / pieces.count;
        const Scaling scale = scaling(run, groups, statistics, gain, offset);
        const Offset from = (Offset)run * pieces.voxels;
        double part[2] = {0.0, 0.0};
        EACH_IN_PIECE(v, task, pieces) {
            const Real gap = x[from + v] - scale.centre;
            const Real d = inner(gap, g[from + v], scale, slope);
            part[0] += (double)d;
            part[1] += (double)d * (double)gap;
        }
        block_totals<2>(part, parts + 2 * task);
    }
}

// Sums of every run, of d and of p.
__device__ void totals(const Pieces &pieces, const Groups &groups, const double *statistics, const double *parts, double *sums) {
    EACH_VOXEL(run, pieces.tiles) {
        double sum[2];
        sums_of_tile<2>(run, pieces, parts, sum);
        sums[2 * run] = sum[0];
        sums[2 * run + 1] = sum[1] * statistics[2 * (run / groups.together) + 1];
    }
}

__device__ void of_parameters(int runs, const Groups &groups, const double *sums, Real *of_gain, Real *of_offset) {
    EACH_VOXEL(c, groups.channels) {
        double plain = 0.0, product = 0.0;
        for (int run = c; run < runs; run += groups.channels) {
            plain += sums[2 * run];
            product += sums[2 * run + 1];
        }
        of_gain[c] = (Real)product;
        of_offset[c] = (Real)plain;
    }
}

// What is taken from gain r d in every group: r mean(gain d), and r^2 mean(gain p) for every x - m.
__device__ void means(int count, int voxels, const Groups &groups, const double *statistics, const Real *gain, const double *sums, Real *taken) {
    EACH_VOXEL(group, count) {
        double plain = 0.0, product = 0.0;
        for (int k = 0; k < groups.together; k++) {
            const int run = group * groups.together + k;
            const double weight = (double)gain[run % groups.channels];
            plain += weight * sums[2 * run];
            product += weight * sums[2 * run + 1];
        }
        const double share = 1.0 / ((double)groups.together * voxels), r = statistics[2 * group + 1];
        taken[2 * group] = (Real)(r * plain * share);
        taken[2 * group + 1] = (Real)(r * r * product * share);
    }
}

__device__ void back(int n, int voxels, const Groups &groups, Real slope, const double *statistics, const Real *gain, const Real *offset,
                     const Real *taken, const Real *x, const Real *g, Real *of_x) {
    EACH_VOXEL(v, n) {
        const int run = v / voxels, group = run / groups.together;
        const Scaling scale = scaling(run, groups, statistics, gain, offset);
        const Real gap = x[v] - scale.centre;
        const Real d = inner(gap, g[v], scale, slope);
        of_x[v] = real::fma(d, scale.factor, -real::fma(gap, taken[2 * group + 1], taken[2 * group]));
    }
}

KERNEL(moments_of_groups, (Pieces pieces, const Real *x, double *parts), moments(pieces, x, parts))
KERNEL(statistics_of_groups,
    (Pieces pieces, double epsilon, const Real *x, const double *parts, double *statistics),
    statistics_of(pieces, epsilon, x, parts, statistics))
KERNEL(value,
    (int n, int voxels, Groups groups, Real slope, const double *statistics, const Real *gain, const Real *offset, const Real *x,
     Real *y),
    activate(n, voxels, groups, slope, statistics, gain, offset, x, y))
KERNEL(sums_of_runs,
    (Pieces pieces, Groups groups, Real slope, const double *statistics, const Real *gain, const Real *offset, const Real *x,
     const Real *g, double *parts),
    back_sums(pieces, groups, slope, statistics, gain, offset, x, g, parts))
KERNEL(totals_of_runs, (Pieces pieces, Groups groups, const double *statistics, const double *parts, double *sums),
    totals(pieces, groups, statistics, parts, sums))
KERNEL(back_to_parameters, (int runs, Groups groups, const double *sums, Real *of_gain, Real *of_offset),
    of_parameters(runs, groups, sums, of_gain, of_offset))
KERNEL(means_of_groups,
    (int count, int voxels, Groups groups, const double *statistics, const Real *gain, const double *sums, Real *taken),
    means(count, voxels, groups, statistics, gain, sums, taken))
KERNEL(back_to_maps,
    (int n, int voxels, Groups groups, Real slope, const double *statistics, const Real *gain, const Real *offset, const Real *taken,
     const Real *x, const Real *g, Real *of_x),
    back(n, voxels, groups, slope, statistics, gain, offset, taken, x, g, of_x))
