/* Products of matrices: random ones in the formats that the compiler packs. */
#ifndef TEST_CUDA_KERNELS_PRODUCTS_H
#define TEST_CUDA_KERNELS_PRODUCTS_H

#include <memory>

#include "templates.cu"
#include "test/cuda/kernels/pack.h"
#include "test/cuda/kernels/testing.h"

namespace {

struct shape {
  int64_t m, n, k, batch;
  int64_t ld; /* of x, at least k */
  int skew;   /* elements that x begins after a multiple of 16 bytes */
  bool short_grid;
};

struct kernel {
  const char *name;
  void (*run)(void **);
  int rows, columns, threads, shared;
  test_type type;
  const char *format;
  bool batched;
  bool turned = false; /* x is the right operand */
};

#define ROW(name, run, tile, type, format, ...)                          \
  {                                                                      \
    name, run, pmk_tile_##tile::M, pmk_tile_##tile::N,                   \
        pmk_tile_##tile::THREADS, pmk_tile_##tile::SHARED, type, format, \
        __VA_ARGS__                                                      \
  }
#define ROWS(name, format)                                       \
  ROW(#name "<f16>", name##_f16, name, TEST_F16, format, false), \
      ROW(#name "<bf16>", name##_bf16, name, TEST_BF16, format, false)
#define ROWS_F8(name, format)                                       \
  ROW(#name "<e4m3>", name##_e4m3, name, TEST_E4M3, format, false), \
      ROW(#name "<e5m2>", name##_e5m2, name, TEST_E5M2, format, false)
#define ROW_I8(name, format) \
  ROW(#name "<i8>", name##_i8, name, TEST_U8, format, false)
const kernel kernels[] = {
    ROWS(few_nk, "nk"),
    ROWS(few_nm24, "nm24"),
    ROWS(few_bitmap, "bitmap"),
    ROWS(few_bsr, "bsr"),
    ROWS(linear_nk, "nk"),
    ROWS(linear_nk_small, "nk"),
    ROWS(linear_nm24, "nm24"),
    ROWS(linear_nm24_small, "nm24"),
    ROWS(linear_nm24_sm90, "nm24"),
    ROWS(linear_bitmap, "bitmap"),
    ROWS(linear_bsr, "bsr"),
    ROWS(linear_bsr_small, "bsr"),
    ROW("gemm_f32, nk", gemm_f32_nk, gemm_f32, TEST_F32, "nk", true),
    ROW("gemm_f32, nm24", gemm_f32_nm24, gemm_f32, TEST_F32, "nm24", true),
    ROW("gemm_f32, bitmap", gemm_f32_bitmap, gemm_f32, TEST_F32, "bitmap",
        true),
    ROW("gemm_f32, bsr", gemm_f32_bsr, gemm_f32, TEST_F32, "bsr", true),
    ROW("gemm_mma<f16>", gemm_mma_f16, gemm_mma, TEST_F16, "nk", true),
    ROW("gemm_mma<bf16>", gemm_mma_bf16, gemm_mma, TEST_BF16, "nk", true),
    ROWS_F8(few_nk, "nk"),
    ROWS_F8(linear_nk, "nk"),
    ROWS_F8(linear_nk_small, "nk"),
    ROW_I8(few_nk, "nk"),
    ROW_I8(few_nm24, "nm24"),
    ROW_I8(linear_nk, "nk"),
    ROW_I8(linear_nk_small, "nk"),
    ROW_I8(linear_nm24, "nm24"),
    ROW_I8(linear_nm24_small, "nm24"),
    ROW("gemm_mma<u8, i8>", gemm_mma_u8i8, gemm_mma, TEST_U8, "nm24", true),
    ROW("gemm_mma<i8, u8>", gemm_mma_i8u8, gemm_mma, TEST_U8, "nm24",
        true, true),
    ROW("gemm_mma<i8, i8>", gemm_mma_i8i8, gemm_mma, TEST_I8, "nm24", true),
};

bool is_bytes(test_type t) { return t == TEST_U8 || t == TEST_I8; }
bool is_f8(test_type t) { return t == TEST_E4M3 || t == TEST_E5M2; }
size_t width_of(test_type t) {
  return t == TEST_F32 ? 4 : is_bytes(t) || is_f8(t) ? 1 : 2;
}
/* An element of x, or (of type TEST_I8) of weights. */
float value_of(test_type t, source &r) {
  if (t == TEST_U8) return (float)r.next(256);
  if (t == TEST_I8) return (float)r.next(256) - 128;
  /* Exact in floats of a byte, too. */
  if (is_f8(t)) return ldexpf((float)((int)r.next(15) - 7), (int)r.next(6) - 5);
  return r.value();
}

/* Of blocks: whether the one of (j, i) is there, of every third pair of rows of
 * blocks none, of the others every other one or one of two neighbours. */
bool in_block(int64_t j, int64_t i) {
  int64_t pair = j / 64, b = i / 32;
  return pair % 3 != 2 && (b + pair) % 3 != 1 && (b % 2 == 0 || j / 32 % 2);
}

/* Some rows are empty; where the format wants it, two of four are there. */
std::vector<float> weights(const kernel &f, const shape &s, source &r) {
  std::vector<float> w((size_t)(s.n * s.k));
  bool pairs = strcmp(f.format, "nm24") == 0;
  bool dense = strcmp(f.format, "nk") == 0;
  bool blocks = strcmp(f.format, "bsr") == 0;
  for (int64_t j = 0; j < s.n; j++)
    for (int64_t i = 0, there = 0; i < s.k; i++) {
      if (i % 4 == 0) there = 0;
      bool take = dense || (blocks ? in_block(j, i)
                                   : r.next(2) && (!pairs || there < 2));
      float some = value_of(is_bytes(f.type) ? TEST_I8 : f.type, r);
      float v = take && j % 7 != 5 ? some : r.next(2) ? -0.0f : 0.0f;
      there += v != 0;
      w[(size_t)(j * s.k + i)] = v;
    }
  return w;
}

/* Elements of a type, with NaNs where nothing may be read. */
std::vector<unsigned char> stored(test_type t, const std::vector<float> &v) {
  size_t width = width_of(t);
  std::vector<unsigned char> out(v.size() * width);
  for (size_t i = 0; i < v.size(); i++) {
    uint16_t h = t == TEST_F16 ? pmk_f32_to_f16(v[i]) : pmk_f32_to_bf16(v[i]);
    if (t == TEST_E4M3)
      out[i] = pmk_storage<pmk_e4m3>::of(v[i]).bits;
    else if (t == TEST_E5M2)
      out[i] = pmk_storage<pmk_e5m2>::of(v[i]).bits;
    else if (is_bytes(t))
      out[i] = isnan(v[i]) ? 77 : (unsigned char)(int)v[i];
    else if (t == TEST_F32)
      memcpy(&out[i * width], &v[i], width);
    else
      memcpy(&out[i * width], &h, width);
  }
  return out;
}

/* ---- one case ---- */

struct problem {
  shape s;
  std::vector<float> x, w; /* x with its gaps */
  std::unique_ptr<buffer> bx, bw, out;
};

problem make(const kernel &f, const shape &s, uint32_t seed) {
  problem p;
  source r(seed);
  size_t rows = (size_t)(s.m * s.batch), size;
  p.s = s;
  p.x.assign((size_t)s.skew + (rows - 1) * (size_t)s.ld + (size_t)s.k, NAN);
  for (size_t i = 0; i < rows; i++)
    for (int64_t e = 0; e < s.k; e++)
      p.x[(size_t)s.skew + i * (size_t)s.ld + (size_t)e] =
          r.next(16) ? value_of(f.type, r) : -0.0f;
  p.w = weights(f, s, r);
  void *packed = test_pack(f.format, f.type, p.w.data(), s.k, s.n, &size);
  if (!packed) {
    fprintf(stderr, "%s: weights are refused\n", f.name);
    exit(1);
  }
  std::vector<unsigned char> bytes = stored(f.type, p.x);
  p.bx.reset(new buffer(bytes.size(), bytes.data()));
  p.bw.reset(new buffer(size, packed));
  p.out.reset(new buffer(rows * (size_t)s.n * sizeof(float), nullptr));
  free(packed);
  return p;
}

/* The largest error in units of what sums of so many may be off by; those of
 * integers may not. */
double error_of(const kernel &f, const problem &p, const void *data) {
  const float *out = (const float *)data;
  const int32_t *whole = (const int32_t *)data;
  const shape &s = p.s;
  double worst = 0;
  for (int64_t i = 0; i < s.m * s.batch; i++)
    for (int64_t j = 0; j < s.n; j++) {
      double sum = 0, size = 1e-30;
      for (int64_t e = 0; e < s.k; e++) {
        double v = (double)p.x[(size_t)(s.skew + i * s.ld + e)] *
                   (double)p.w[(size_t)(j * s.k + e)];
        sum += v;
        size += fabs(v);
      }
      double off = fabs((double)out[i * s.n + j] - sum) / (size * 0x1p-22);
      if (is_bytes(f.type)) off = whole[i * s.n + j] == sum ? 0 : 2;
      if (!(off <= worst)) worst = off; /* NaN too */
    }
  return worst;
}

/* The message of what is wrong, or NULL. */
const char *run(const kernel &f, const problem &p, int order) {
  static char message[400];
  const shape &s = p.s;
  size_t width = width_of(f.type);
  pmk_args a = {{p.bx->get() + (size_t)s.skew * width, p.bw->get(),
                 p.out->get(), nullptr},
                {s.m, s.n, s.k, s.ld, s.batch},
                nullptr};
  void *params[1] = {&a};
  memset(p.out->get(), 0xff, (size_t)(s.m * s.batch * s.n) * sizeof(float));
  int64_t across = f.turned ? s.m : s.n, down = f.turned ? s.n : s.m;
  unsigned gy = (unsigned)((down + f.rows - 1) / f.rows);
  pmk_schedule(order);
  if (pmk_emulate(f.run, (unsigned)((across + f.columns - 1) / f.columns),
                  s.short_grid ? 1 : gy, s.short_grid ? 1 : (unsigned)s.batch,
                  (unsigned)f.threads, (size_t)f.shared, params))
    return pmk_error();
  double off = error_of(f, p, p.out->get());
  if (off <= 1) return nullptr;
  snprintf(message, sizeof message, "off by %g of what sums may be", off);
  return message;
}

/* ---- all cases ---- */

const shape shapes[] = {
    {1, 1, 1, 1, 1, 0, false},        {1, 40, 1800, 1, 1800, 0, false},
    {7, 33, 65, 1, 72, 0, false},     {16, 70, 130, 1, 131, 1, false},
    {17, 129, 200, 1, 200, 0, false}, {128, 48, 328, 1, 328, 8, false},
    {40, 32, 600, 1, 603, 3, true},   {150, 130, 100, 1, 104, 0, true},
};

void all_products(tally &t) {
  uint32_t seed = 0;
  char name[200];
  for (const kernel &f : kernels)
    for (shape s : shapes) {
      if (f.batched) s.batch = 1 + s.m % 3;
      problem p = make(f, s, seed++);
      snprintf(name, sizeof name, "%s, m=%d n=%d k=%d", f.name, (int)s.m,
               (int)s.n, (int)s.k);
      try_orders(t, name, [&](int order) { return run(f, p, order); });
    }
}

/* What notices a mistake must have rows and steps enough for it to matter. */
const shape telling[] = {
    {40, 70, 1160, 1, 1161, 3, true},
    {150, 130, 330, 1, 331, 0, true},
    {150, 130, 330, 1, 336, 0, true},
    {150, 130, 336, 1, 336, 0, true},
};

void mistakes_of_products(mistakes &m) {
  for (const kernel &f : kernels) {
    /* The same text as for others. */
    if (f.type == TEST_BF16 || is_f8(f.type)) continue;
    std::vector<attempt> runs;
    for (const shape &s : telling) {
      auto p = std::make_shared<problem>(make(f, s, 5));
      runs.push_back([&f, p](int order) { return run(f, *p, order); });
    }
    m.of(f.name, runs);
  }
}

} // namespace

#endif
