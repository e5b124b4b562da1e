// The last step of a reduction: what the blocks of another kernel left, put together by one block.
//
// Layout: parts are [blocks, K] doubles; the result is K doubles. Order: thread t adds the parts t, t + THREADS, ... in
// order, then the threads are added by a fixed tree: the same bits in every run.

template <int K>
__device__ void sums(const double *parts, int blocks, double *out) {
    double part[K];
    for (int k = 0; k < K; k++) {
        part[k] = 0.0;
    }
    for (int b = threadIdx.x; b < blocks; b += THREADS) {
        for (int k = 0; k < K; k++) {
            part[k] += parts[b * K + k];
        }
    }
    block_sums<K>(part, out);
}

KERNEL(one_sum, (const double *parts, int blocks, double *out), sums<1>(parts, blocks, out))
KERNEL(two_sums, (const double *parts, int blocks, double *out), sums<2>(parts, blocks, out))

// The smallest of the parts, of which each block of another kernel left one.
__device__ void smallest_of(const double *parts, int blocks, double *out) {
    __shared__ double tree[THREADS];
    double low = parts[0];
    for (int b = threadIdx.x; b < blocks; b += THREADS) {
        low = fmin(low, parts[b]);
    }
    tree[threadIdx.x] = low;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) {
            tree[threadIdx.x] = fmin(tree[threadIdx.x], tree[threadIdx.x + half]);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        out[0] = tree[0];
    }
}

KERNEL(smallest, (const double *parts, int blocks, double *out), smallest_of(parts, blocks, out))
