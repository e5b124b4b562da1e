// What all kernels share: the launch, sizes, sums in a fixed order. It stands in front of every source.
//
// Layout: tensors are contiguous, [channels, (nz,) ny, nx], the first axis fastest; a field has one plane a component.
// Rank: a template parameter D, 2 or 3, with which the name of a kernel ends; sizes have three entries, 1 beyond the rank.
// Precision: kernels compute with numbers Real of REAL bits, 32 where it is not defined, or 64. Constants are such that single
// precision holds them, or are converted.
// Storage: numbers of that precision, or of half of it (Half) at the arithmetic of the whole.
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

#if REAL == 64
typedef double Real;

// A number stored in half of the precision.
typedef float Half;
#else
typedef float Real;

// A number stored in half of the precision.
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
#endif

// Arithmetic of Real, whatever the types of its arguments.
namespace real {

#if REAL == 64
#define OF_REAL(name) name
#else
#define OF_REAL(name) name##f
#endif

__device__ Real fma(Real a, Real b, Real c) {
    return ::OF_REAL(fma)(a, b, c);
}

__device__ Real min(Real a, Real b) {
    return ::OF_REAL(fmin)(a, b);
}

__device__ Real max(Real a, Real b) {
    return ::OF_REAL(fmax)(a, b);
}

__device__ Real abs(Real a) {
    return ::OF_REAL(fabs)(a);
}

__device__ Real sqrt(Real a) {
    return ::OF_REAL(sqrt)(a);
}

__device__ Real exp(Real a) {
    return ::OF_REAL(exp)(a);
}

__device__ Real floor(Real a) {
    return ::OF_REAL(floor)(a);
}

} // namespace real

__device__ Real load(const Real *from) {
    return *from;
}

__device__ void store(Real *to, Real value) {
    *to = value;
}

#if REAL == 64
__device__ Real load(const Half *from) {
    return (Real)*from;
}

__device__ void store(Half *to, Real value) {
    *to = (Half)value;
}
#else
__device__ Real load(const Half *from) {
    return widened(from->bits);
}

__device__ void store(Half *to, Real value) {
    to->bits = narrowed(value);
}
#endif

// Voxels along each axis, fastest first; 1 beyond the rank.
struct Size {
    int n[3];
};

// Weights of differences: component, then axis.
struct Weights {
    Real w[3][3];
};

// Tiles whose sums over so many voxels are taken piece by piece, `count` of them with `each` voxels; a block for each.
struct Pieces {
    int tiles, count, each, voxels;
};

// The pieces of a block: those of a tile lie one after the other.
#define EACH_TASK(task, pieces) \
    for (int task = blockIdx.x; task < (pieces).tiles * (pieces).count; task += gridDim.x)

// The voxels of a thread in a piece.
#define EACH_IN_PIECE(v, task, pieces) \
    for (int v = (task) % (pieces).count * (pieces).each + threadIdx.x; v < end_of_piece(task, pieces); v += THREADS)

__device__ int end_of_piece(int task, const Pieces &pieces) {
    const int start = task % pieces.count * pieces.each;
    return pieces.voxels - start < pieces.each ? pieces.voxels : start + pieces.each;
}

// The sums of a tile from those of its pieces, in order.
template <int K>
__device__ void sums_of_tile(int tile, const Pieces &pieces, const double *parts, double (&sum)[K]) {
    for (int k = 0; k < K; k++) {
        sum[k] = 0.0;
    }
    for (int task = tile * pieces.count; task < (tile + 1) * pieces.count; task++) {
        for (int k = 0; k < K; k++) {
            sum[k] += parts[K * task + k];
        }
    }
}

// A number for each component.
struct Vector {
    Real v[3];
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

// Adds up K doubles of every thread of the block by a fixed tree and leaves them at out.
template <int K>
__device__ void block_totals(const double (&part)[K], double *out) {
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
        out[threadIdx.x] = tree[threadIdx.x][0];
    }
    // before the tree is written again
    __syncthreads();
}

// Those of every block, one after the other.
template <int K>
__device__ void block_sums(const double (&part)[K], double *out) {
    block_totals<K>(part, out + blockIdx.x * K);
}
