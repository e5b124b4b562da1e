// Runs the kernels of kernels/*.cu on the host, one block after the other, for tests without a GPU.
//
// It stands in front of a kernel source that a C++ compiler makes a shared object of. Every kernel becomes a function
// `int name(void **arguments, unsigned blocks)` that takes arguments as cuLaunchKernel does. The threads of a block are
// fibres: one runs until it comes to a barrier or to its end, then the next. A barrier that not all threads of a block
// come to is a fault of the kernel, and the function returns 1. Host threads may run kernels side by side.
// With REVERSED, blocks and threads take their turns from the last to the first: what depends on their order is a race.

#include <cmath>
#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ucontext.h>
#include <utility>

#define __global__
#define __device__ static inline
#define __shared__ static thread_local
#define __launch_bounds__(threads)
#define __restrict__

struct EmulatedIndex {
    unsigned x;
};

static thread_local EmulatedIndex threadIdx, blockIdx, gridDim;

namespace emulator {

const unsigned threads = 256;
const size_t stack_size = 1 << 16;

struct Fibre {
    jmp_buf at;
    ucontext_t start;
    void *stack;
    bool begun, done;
};

struct Block {
    Fibre fibres[threads];
    jmp_buf scheduler;
    unsigned current;
    void (*body)(void **);
    void **arguments;
};

static thread_local Block *block = nullptr;

// Which of `count` has turn `k`.
static unsigned turn(unsigned k, unsigned count) {
#ifdef REVERSED
    return count - 1 - k;
#else
    return k;
#endif
}

static void rest() {
    if (!_setjmp(block->fibres[block->current].at)) {
        _longjmp(block->scheduler, 1);
    }
}

static void live() {
    for (;;) {
        block->body(block->arguments);
        block->fibres[block->current].done = true;
        rest();
    }
}

// Goes on with the current fibre until it rests.
static void resume() {
    Fibre &fibre = block->fibres[block->current];
    threadIdx.x = block->current;
    if (_setjmp(block->scheduler)) {
        return;
    }
    if (fibre.begun) {
        _longjmp(fibre.at, 1);
    }
    fibre.begun = true;
    if (!fibre.stack) {
        fibre.stack = malloc(stack_size);
    }
    getcontext(&fibre.start);
    fibre.start.uc_stack.ss_sp = fibre.stack;
    fibre.start.uc_stack.ss_size = stack_size;
    fibre.start.uc_link = nullptr;
    makecontext(&fibre.start, live, 0);
    setcontext(&fibre.start);
}

static int run(void (*body)(void **), void **arguments, unsigned blocks) {
    if (!block) {
        block = new Block();
    }
    block->body = body;
    block->arguments = arguments;
    gridDim.x = blocks;
    for (unsigned b = 0; b < blocks; b++) {
        blockIdx.x = turn(b, blocks);
        for (Fibre &fibre : block->fibres) {
            fibre.done = false;
        }
        unsigned done = 0;
        while (done == 0) {
            for (unsigned t = 0; t < threads; t++) {
                block->current = turn(t, threads);
                resume();
            }
            for (const Fibre &fibre : block->fibres) {
                done += fibre.done;
            }
        }
        if (done < threads) {
            // those that wait would go on with this kernel in the next one
            for (Fibre &fibre : block->fibres) {
                fibre.begun = false;
            }
            return 1;
        }
    }
    return 0;
}

template <class... Parameters, size_t... I>
void unpack(void (*kernel)(Parameters...), void **arguments, std::index_sequence<I...>) {
    kernel(*static_cast<Parameters *>(arguments[I])...);
}

template <class... Parameters>
void call(void (*kernel)(Parameters...), void **arguments) {
    unpack(kernel, arguments, std::index_sequence_for<Parameters...>());
}

} // namespace emulator

#define EMULATED

// Half precision, rounded to the nearest and to even as cvt.rn does.
static inline float widened(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float size;
    if (exponent == 31) {
        size = fraction ? NAN : INFINITY;
    } else if (exponent == 0) {
        size = ldexpf((float)fraction, -24);
    } else {
        size = ldexpf((float)(fraction + 1024), exponent - 25);
    }
    return bits >> 15 ? -size : size;
}

static inline unsigned short narrowed(float value) {
    uint32_t all;
    memcpy(&all, &value, sizeof all);
    const unsigned short sign = all >> 16 & 0x8000;
    const float size = fabsf(value);
    if (size != size) {
        return sign | 0x7e00;
    }
    if (size >= 65520.0f) {
        return sign | 0x7c00;
    }
    if (size == 0.0f) {
        return sign;
    }
    int exponent;
    frexpf(size, &exponent);
    // the unit in the last place: 2^-24 for what is subnormal
    const int unit = exponent - 11 < -24 ? -24 : exponent - 11;
    const int steps = (int)nearbyintf(ldexpf(size, -unit));
    // a carry into the exponent is the next number
    return sign | (unsigned short)(steps + (unit > -24 ? (unit + 24) << 10 : 0));
}

static inline void __syncthreads() {
    emulator::rest();
}

static inline unsigned atomicMin(unsigned *at, unsigned value) {
    const unsigned before = *at;
    *at = value < before ? value : before;
    return before;
}

static inline unsigned long long atomicAdd(unsigned long long *at, unsigned long long value) {
    const unsigned long long before = *at;
    *at = before + value;
    return before;
}

#define KERNEL(name, parameters, ...)                                                                               \
    static void name##_kernel parameters { __VA_ARGS__; }                                                           \
    extern "C" int name(void **arguments, unsigned blocks) {                                                        \
        return emulator::run([](void **a) { emulator::call(name##_kernel, a); }, arguments, blocks);                \
    }
