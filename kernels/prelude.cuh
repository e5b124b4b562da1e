// What all kernels share: the launch, sizes, sums in a fixed order. It stands in front of every source.
//
// Layout: tensors are contiguous, [channels, (nz,) ny, nx], the first axis fastest; a field has one plane a component.
// Rank: a template parameter D, 2 or 3, with which the name of a kernel ends; sizes have three entries, 1 beyond the rank.
// Storage: single precision, or half precision (Half) at the arithmetic of single precision.
// Where RANK is defined, kernels of the other rank are left out; where STORAGE is 16 or 32, those that store halves, or those
// that do not, are all there are of a source that has both. That spares the compiler most of its work.
// Launch: blocks of THREADS threads, as many blocks as `blocks_for` in src/ops/device/launcher.rs says, which depends on
// the number of voxels alone; each thread takes the voxels v, v + all threads, ... So sums are grouped the same way on
// every device. No system headers: NVRTC compiles this where there is no toolkit.

#ifndef KERNEL
// A kernel by name: its parameters in parentheses, then the call of the template that does the work.
#define KERNEL(name, parameters, ...) \
    extern "C" __global__ void __launch_bounds__(THREADS) name parameters { __VA_ARGS__; }
#endif

#define THREADS 256

#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif

// The voxels of a thread.
#define EACH_VOXEL(v, n) \
    for (int v = blockIdx.x * THREADS + threadIdx.x; v < (n); v += gridDim.x * THREADS)

typedef long long Offset;

// A number stored in half precision.
struct Half {
    unsigned short bits;
};

#ifndef EMULATED
__device__ float widened(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ unsigned short narrowed(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

__device__ float load(const float *from) {
    return *from;
}

__device__ float load(const Half *from) {
    return widened(from->bits);
}

__device__ void store(float *to, float value) {
    *to = value;
}

__device__ void store(Half *to, float value) {
    to->bits = narrowed(value);
}

// Voxels along each axis, fastest first; 1 beyond the rank.
struct Size {
    int n[3];
};

// Weights of differences: component, then axis.
struct Weights {
    float w[3][3];
};

// A number for each component.
struct Vector {
    float v[3];
};

template <int D>
__device__ int voxels(const Size &size) {
    return size.n[0] * size.n[1] * (D == 3 ? size.n[2] : 1);
}

// The index of voxel v along each axis.
template <int D>
__device__ void place(int v, const Size &size, int (&index)[D]) {
    index[0] = v % size.n[0];
    v /= size.n[0];
    index[1] = v % size.n[1];
    if (D == 3) {
        index[D - 1] = v / size.n[1];
    }
}

// Place of entry (a, b) among the packed entries of a symmetric block: xx, xy, (xz,) yy, (yz, zz).
template <int D>
__device__ int packed(int a, int b) {
    const int low = a < b ? a : b, high = a < b ? b : a;
    return low * D - low * (low + 1) / 2 + high;
}

// Adds up K doubles of every thread of the block by a fixed tree and leaves them at out[block * K].
template <int K>
__device__ void block_sums(const double (&part)[K], double *out) {
    __shared__ double tree[K][THREADS];
    for (int k = 0; k < K; k++) {
        tree[k][threadIdx.x] = part[k];
    }
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) {
            for (int k = 0; k < K; k++) {
                tree[k][threadIdx.x] += tree[k][threadIdx.x + half];
            }
        }
        __syncthreads();
    }
    if (threadIdx.x < K) {
        out[blockIdx.x * K + threadIdx.x] = tree[threadIdx.x][0];
    }
}
