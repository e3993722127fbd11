/* pmk.h for nvcc: sm_80 and later; the rest by what PTX calls it. */
#ifndef PMK_PTX_H
#define PMK_PTX_H

#define PMK_DEV        static __device__ __forceinline__
#define PMK_DEV_MEMBER static __device__ __forceinline__
#define PMK_DEV_INSIDE __device__ __forceinline__
#define PMK_UNROLL     _Pragma("unroll")
#define PMK_UNROLL_1   _Pragma("unroll 1")
#define PMK_UNROLL_4   _Pragma("unroll 4")
/* PMK_KERNEL(name, threads) or PMK_KERNEL(name, threads, blocks): of a block,
 * and at least so many on a multiprocessor. */
#define PMK_KERNEL(name, ...)                               \
  extern "C" __global__ void __launch_bounds__(__VA_ARGS__) \
      name(const __grid_constant__ pmk_args a)

#define PMK_TID     ((int)threadIdx.x)
#define PMK_BX      ((int)blockIdx.x)
#define PMK_BY      ((int)blockIdx.y)
#define PMK_BZ      ((int)blockIdx.z)
#define PMK_GX      ((int)gridDim.x)
#define PMK_GY      ((int)gridDim.y)
#define PMK_GZ      ((int)gridDim.z)
#define PMK_THREADS ((int)blockDim.x)

/* ---- conversions ---- */

PMK_DEV float pmk_bits_to_f32(uint32_t b) { return __uint_as_float(b); }
PMK_DEV uint32_t pmk_f32_to_bits(float f) { return __float_as_uint(f); }
PMK_DEV float pmk_f16_to_f32(uint16_t h) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
}
PMK_DEV uint16_t pmk_f32_to_f16(float f) {
  uint16_t h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
PMK_DEV uint16_t pmk_f32_to_bf16(float f) {
  uint16_t h;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}
#define PMK_INFINITY pmk_bits_to_f32(0x7f800000u)
PMK_DEV float pmk_exp(float x) { return expf(x); }
PMK_DEV int pmk_popcount(uint32_t v) { return __popc(v); }
/* c + the sum of products of bytes. */
PMK_DEV uint32_t pmk_dot4(uint32_t a, uint32_t b, uint32_t c) {
  return __dp4a(a, b, c);
}

/* Two floats of a byte, in the low half, as f16: e5m2 is the upper half of one.
 * Under the exponent of f16 an e4m3 means its value times 2^-8; what would be
 * 480 is its NaN. */
PMK_DEV uint32_t pmk_widen2(pmk_e5m2, uint32_t two) {
  return __byte_perm(two, 0, 0x1404);
}
PMK_DEV uint32_t pmk_widen2(pmk_e4m3, uint32_t two) {
  uint32_t v;
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(v) : "h"((uint16_t)two));
#else
  uint32_t high = __byte_perm(two, 0, 0x1404), low = high & 0x7f007f00;
  uint32_t nan = (low + 0x01000100) >> 15 & 0x00010001;
  v = (high & 0x80008000) | low >> 1;
  asm("mul.f16x2 %0, %0, %1;" : "+r"(v) : "r"(0x5c005c00u));
  v |= nan * 0x7e00;
#endif
  return v;
}

/* ---- memory ---- */

template <class T> PMK_DEV T pmk_load(const T *p) { return *p; }
template <class T> PMK_DEV void pmk_store(T *p, T v) { *p = v; }

/* 16 bytes that will not be read again, and 16 that others read too. */
PMK_DEV pmk_v4 pmk_stream16(const void *p) {
  pmk_v4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.u[0]), "=r"(v.u[1]), "=r"(v.u[2]), "=r"(v.u[3])
               : "l"(p));
  return v;
}
PMK_DEV pmk_v4 pmk_load16(const void *p) {
  pmk_v4 v;
  asm volatile("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.u[0]), "=r"(v.u[1]), "=r"(v.u[2]), "=r"(v.u[3])
               : "l"(p));
  return v;
}
PMK_DEV uint32_t pmk_stream4(const uint32_t *p) {
  uint32_t v;
  asm volatile("ld.global.nc.L1::no_allocate.u32 %0, [%1];" : "=r"(v) : "l"(p));
  return v;
}

extern __shared__ __align__(1024) unsigned char pmk_dynamic_smem[];
PMK_DEV unsigned char *pmk_smem() { return pmk_dynamic_smem; }
/* Where in shared memory, for what takes such addresses. */
PMK_DEV uint32_t pmk_saddr(const void *p) {
  return (uint32_t)__cvta_generic_to_shared(p);
}
/* 16 bits at an address in shared memory where `there` is not 0, else 0. */
PMK_DEV uint32_t pmk_take16(uint32_t there, uint32_t address) {
  uint32_t v;
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0; mov.u32 %0, 0;"
               " @p ld.shared.u16 %0, [%1];}"
               : "=r"(v)
               : "r"(address), "r"(there)
               : "memory");
  return v;
}
/* Two values of 16 bits as one register. */
PMK_DEV uint32_t pmk_join(uint32_t low, uint32_t high) {
  return __byte_perm(low, high, 0x5410);
}
/* Copies `bytes` (0 to 16) and fills up to 16 with zeros, in the background:
 * p is not read where bytes is 0. Past the first cache: for what is read once.
 */
PMK_DEV void pmk_cp16(uint32_t to, const void *p, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(p), "r"(bytes)
               : "memory");
}
/* The same of what other blocks on this multiprocessor read, too. */
PMK_DEV void pmk_cp16_common(uint32_t to, const void *p, int bytes) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 16, %2;" ::"r"(to),
               "l"(p), "r"(bytes)
               : "memory");
}
/* The same of 16 bytes, or nothing. */
PMK_DEV void pmk_cp16_if(bool there, uint32_t to, const void *p) {
  asm volatile("{.reg .pred p; setp.ne.u32 p, %2, 0;"
               " @p cp.async.cg.shared.global [%0], [%1], 16;}" ::"r"(to),
               "l"(p), "r"((uint32_t)there)
               : "memory");
}
PMK_DEV void pmk_cp_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until at most N of this thread's groups are under way. */
template <int N> PMK_DEV void pmk_cp_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* ---- threads that work together ---- */

PMK_DEV void pmk_sync() { __syncthreads(); }
PMK_DEV void pmk_warp_sync() { __syncwarp(); }
template <class T> PMK_DEV T pmk_shfl_xor(T v, int mask) {
  return __shfl_xor_sync(0xffffffffu, v, mask);
}
template <class T> PMK_DEV T pmk_shfl(T v, int lane) {
  return __shfl_sync(0xffffffffu, v, lane);
}
/* The value of the lane `by` below; the first lanes keep theirs. */
template <class T> PMK_DEV T pmk_shfl_up(T v, int by) {
  return __shfl_up_sync(0xffffffffu, v, by);
}

/* Sums of what this lane and those below give. */
PMK_DEV uint32_t pmk_prefix(uint32_t v) {
  PMK_UNROLL
  for (int by = 1; by < 32; by *= 2)
    asm volatile("{.reg .u32 t; .reg .pred p;"
                 " shfl.sync.up.b32 t|p, %0, %1, 0, 0xffffffff;"
                 " @p add.u32 %0, %0, t;}"
                 : "+r"(v)
                 : "r"(by));
  return v;
}

/* ---- products of a warp ---- */

/* Four 8x8 matrices of 16-bit elements; lane 8i + r gives the address of row r
 * of matrix i, and gets of each elements 2t, 2t+1 of row g (lane = 4g + t). */
PMK_DEV void pmk_ldsm4(uint32_t *r, uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, "
               "[%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/* The same of matrices that are turned: elements g of rows 2t, 2t+1. */
PMK_DEV void pmk_ldsm4_turned(uint32_t *r, uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 "
               "{%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/* Left and right operands, sums. */
#define PMK_MMA(A, B, shape, twice, sum, name, c)                              \
  template <> struct pmk_mma_of<A, B> {                                        \
    PMK_DEV_MEMBER void dense(sum *d, const uint32_t *a, const uint32_t *b) {  \
      asm volatile("mma.sync.aligned." shape ".row.col." name                  \
                   " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "           \
                   "{%0, %1, %2, %3};"                                         \
                   : c(d[0]), c(d[1]), c(d[2]), c(d[3])                        \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),    \
                     "r"(b[1]));                                               \
    }                                                                          \
    template <int F>                                                           \
    PMK_DEV_MEMBER void sparse(sum *d, const uint32_t *a, const uint32_t *b,   \
                               uint32_t e) {                                   \
      asm volatile("mma.sp::ordered_metadata.sync.aligned." twice ".row.col."  \
                   name " {%0, %1, %2, %3}, {%4, %5, %6, %7}, "                \
                   "{%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, %13;"           \
                   : c(d[0]), c(d[1]), c(d[2]), c(d[3])                        \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),    \
                     "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(e), "n"(F));         \
    }                                                                          \
  };
#define PMK_MMA_16(T, name)                                      \
  PMK_MMA(T, T, "m16n8k16", "m16n8k32", float,                   \
          "f32." name "." name ".f32", "+f")
#define PMK_MMA_8(A, B, a, b)                                    \
  PMK_MMA(A, B, "m16n8k32", "m16n8k64", int32_t,                 \
          "s32." a "." b ".s32", "+r")
template <class A, class B> struct pmk_mma_of;
PMK_MMA_16(pmk_f16, "f16")
PMK_MMA_16(pmk_bf16, "bf16")
PMK_MMA_8(int8_t, int8_t, "s8", "s8")
PMK_MMA_8(int8_t, uint8_t, "s8", "u8")
PMK_MMA_8(uint8_t, int8_t, "u8", "s8")
PMK_MMA_8(uint8_t, uint8_t, "u8", "u8")
#undef PMK_MMA_8
#undef PMK_MMA_16
#undef PMK_MMA

/* d[16x8] += a[16xK] b[Kx8], of 16 bits (K = 16) or of 8 (K = 32), in fragments
 * (lane = 4g + t; V elements in a register, 2 or 4):
 *   a: rows g, g+8, g, g+8; columns Vt.. of the left half, then of the right
 *   b: column g; rows Vt.., K/2 + Vt..
 *   d: rows g, g, g+8, g+8; columns 2t.. */
template <class A, class B = A, class S>
PMK_DEV void pmk_mma(S *d, const uint32_t *a, const uint32_t *b) {
  pmk_mma_of<A, B>::dense(d, a, b);
}
/* The same with a[16x2K] of which two of every four in a row are there: a as
 * above, b: rows Vt.. + 0, K/2, K, 3K/2. e says which (docs/cuda-formats.md):
 * of 16 bits, lanes 2F and 2F+1 of every four give it, of 8 all. */
template <class A, int F, class B = A, class S>
PMK_DEV void pmk_mma_sp(S *d, const uint32_t *a, const uint32_t *b,
                        uint32_t e) {
  pmk_mma_of<A, B>::template sparse<F>(d, a, b, e);
}

/* ---- products of four warps (sm_90a only) ---- */

/* A tile of 16-bit elements in shared memory, rows along k: of 64 bytes, laid
 * out as by pmk_at64 (code 2), or of 128 by pmk_at128 (code 1). */
PMK_DEV uint64_t pmk_tile_of(uint32_t address, uint32_t row_bytes) {
  return (uint64_t)(address >> 4 & 0x3fff) | (uint64_t)1 << 16 |
         (uint64_t)(row_bytes * 8 >> 4) << 32 |
         (uint64_t)(row_bytes == 64 ? 2 : 1) << 62;
}

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define PMK_SM90 1
/* What this thread's copies wrote may be read by products of four warps. */
PMK_DEV void pmk_fence_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/* Before the first product, and after sums were touched. */
PMK_DEV void pmk_wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
PMK_DEV void pmk_wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/* Until at most N groups are under way. */
template <int N> PMK_DEV void pmk_wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

#define PMK_F8(i)                                                             \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), \
      "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define PMK_WGMMA_SP(type, name)                                               \
  template <int F> struct pmk_wgmma_of<type, F> {                              \
    PMK_DEV_MEMBER void sparse(float *d, uint64_t a, uint64_t b, uint32_t e) { \
      asm volatile(                                                            \
          "wgmma.mma_async.sp.sync.aligned.m64n128k32.f32." name "." name      \
          " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, "     \
          "%14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "  \
          "%27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, "  \
          "%40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, "  \
          "%53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "           \
          "%64, %65, %66, %67, 1, 1, 1, 0, 0;"                                 \
          : PMK_F8(0), PMK_F8(8), PMK_F8(16), PMK_F8(24), PMK_F8(32),          \
            PMK_F8(40), PMK_F8(48), PMK_F8(56)                                 \
          : "l"(a), "l"(b), "r"(e), "n"(F));                                   \
    }                                                                          \
  };
template <class T, int F> struct pmk_wgmma_of;
PMK_WGMMA_SP(pmk_f16, "f16")
PMK_WGMMA_SP(pmk_bf16, "bf16")
#undef PMK_WGMMA_SP
#undef PMK_F8

/* d[64x128] += a[64x32] b[128x32]', in the background; a has 2 of 4, e says
 * which. Warp w has rows 16w.. of d, a and e, as pmk_mma_sp; d[4j..] are those
 * of columns 8j... */
template <class T, int F>
PMK_DEV void pmk_wgmma_sp(float *d, uint64_t a, uint64_t b, uint32_t e) {
  pmk_wgmma_of<T, F>::sparse(d, a, b, e);
}
#endif

#endif
