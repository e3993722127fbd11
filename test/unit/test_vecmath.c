/* The emitted elementary functions against double precision.
 *
 * Every function runs over bit patterns of f32 spread over the whole range
 * (every PRN_VECMATH_STRIDE-th, 4099 unless set) and over special values, as
 * vectors and one by one, for each CPU level this machine can run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/llvm/jit.h"
#include "backends/llvm/vecmath.h"

enum { BATCH = 4096 };
typedef void array_fn(const float *x, const float *y, float *out, int64_t n);
typedef prn_v emit_fn(prn_cg *g, prn_v x);

static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_rsqrt(double x) { return 1 / sqrt(x); }
static double ref_reciprocal(double x) { return 1 / x; }
static double ref_round(double x) { return nearbyint(x); }
#define ref_exp   exp
#define ref_expm1 expm1
#define ref_log   log
#define ref_log1p log1p
#define ref_erf   erf
#define ref_tanh  tanh
#define ref_sin   sin
#define ref_cos   cos
#define ref_tan   tan
#define ref_asin  asin
#define ref_acos  acos
#define ref_atan  atan
#define ref_sinh  sinh
#define ref_cosh  cosh
#define ref_asinh asinh
#define ref_acosh acosh
#define ref_atanh atanh
#define ref_sqrt  sqrt
#define ref_floor floor
#define ref_ceil  ceil
#define ref_trunc trunc

static const struct {
  const char *name;
  emit_fn *emit;
  double (*ref)(double);
  double with_fma, without;
} rows[] = {
#define ROW(name, fma, mul) {#name, prn_vm_##name, ref_##name, fma, mul},
    PRN_VECMATH_UNARY(ROW)
#undef ROW
};

static const char *const levels[] = {"x86-64-v2", "x86-64-v3", "x86-64-v4"};

static bool runs_here(const char *level) {
#ifdef __x86_64__
  __builtin_cpu_init();
  if (strcmp(level, "x86-64-v2") == 0) return __builtin_cpu_supports("sse4.1");
  if (strcmp(level, "x86-64-v3") == 0)
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return __builtin_cpu_supports("avx512f") &&
         __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
#else
  (void)level;
  return false;
#endif
}

/* ---- compilation ---- */

typedef struct machine {
  prn_diag_sink sink;
  prn_target *target;
  prn_jit *jit;
} machine;

typedef struct emission {
  emit_fn *unary;
  prn_v (*binary)(prn_cg *, prn_v, prn_v);
  prn_v x, y, out;
} emission;

static void body(prn_cg *g, prn_v i, unsigned lanes, prn_v mask, void *user) {
  emission *e = user;
  prn_t t = prn_cg_vec(g->f32, lanes);
  prn_v x = prn_cg_load_masked(g, t, cg_at(g, g->f32, e->x, i), mask);
  prn_v r;
  if (e->unary)
    r = e->unary(g, x);
  else
    r = e->binary(g, x,
                  prn_cg_load_masked(g, t, cg_at(g, g->f32, e->y, i), mask));
  prn_cg_store_masked(g, r, cg_at(g, g->f32, e->out, i), mask);
}

static void emit_loop(prn_cg *g, const char *name, emission e, unsigned lanes,
                      prn_vloop_fn *fn) {
  prn_t params[4] = {g->ptr, g->ptr, g->ptr, g->i64};
  prn_cg_scope s = prn_cg_begin(g, name, g->none, params, 4);
  LLVMSetLinkage(g->fn, LLVMExternalLinkage);
  e.x = LLVMGetParam(g->fn, 0);
  e.y = LLVMGetParam(g->fn, 1);
  e.out = LLVMGetParam(g->fn, 2);
  prn_cg_vloop(g, LLVMGetParam(g->fn, 3), lanes, fn, &e);
  LLVMBuildRetVoid(g->b);
  prn_cg_end(g, s);
}

static void emit_array(prn_cg *g, const char *name, emission e,
                       unsigned lanes) {
  emit_loop(g, name, e, lanes, body);
}

static void open_machine(machine *m, const char *level) {
  memset(m, 0, sizeof *m);
  prn_target_spec spec = {.march = level};
  assert_int_equal(prn_target_create(&m->sink, &spec, &m->target), PRN_OK);
  assert_int_equal(prn_jit_create(&m->sink, &m->jit), PRN_OK);
}

static void close_machine(machine *m) {
  prn_jit_destroy(m->jit);
  prn_target_destroy(m->target);
  prn_diag_sink_destroy(&m->sink);
}

static void load(machine *m, prn_cg *g) {
  prn_strbuf object = {0};
  assert_int_equal(
      prn_target_emit(&m->sink, m->target, g->mod, PRN_EMIT_OBJECT, &object),
      PRN_OK);
  /* Nothing from libm: an unknown symbol would fail to link. */
  assert_int_equal(prn_jit_add(m->jit, &m->sink, prn_strbuf_view(&object)),
                   PRN_OK);
  prn_strbuf_destroy(&object);
  prn_cg_destroy(g);
}

static array_fn *find(machine *m, const char *name) {
  uintptr_t address = 0;
  assert_int_equal(prn_jit_find(m->jit, &m->sink, name, &address), PRN_OK);
  return (array_fn *)address;
}

/* ---- comparison ---- */

static double ulps(float got, double want) {
  float rounded = (float)want;
  if (isnan(want)) return isnan(got) ? 0 : INFINITY;
  if (isinf(rounded) || isinf(got)) {
    /* The largest float is half a unit from overflow. */
    if (got == rounded) return 0;
    return isfinite(got) && fabs(want) < (double)FLT_MAX * (1 + 0x1p-24) &&
                   fabsf(got) == FLT_MAX
               ? 0.5
               : (double)INFINITY;
  }
  if (rounded == 0 && got == 0 && !signbit(got) != !signbit(rounded))
    return INFINITY;
  int e;
  frexp(want, &e);
  double ulp = ldexp(1, (want == 0 || e < -125 ? -125 : e) - 24);
  return fabs((double)got - want) / ulp;
}

static float from_bits(uint32_t b) {
  float f;
  memcpy(&f, &b, 4);
  return f;
}

static size_t stride(void) {
  const char *s = getenv("PRN_VECMATH_STRIDE");
  size_t n = s ? strtoul(s, NULL, 10) : 0;
  return n ? n : 4099;
}

static const float special[] = {
    0.0f,        -0.0f,      INFINITY,  -INFINITY,   NAN,       FLT_MIN,
    -FLT_MIN,    FLT_MAX,    -FLT_MAX,  1.0f,        -1.0f,     0.5f,
    -0.5f,       1.5f,       2.5f,      -2.5f,       88.72283f, 88.72284f,
    -87.33655f,  -103.97f,   -103.98f,  16367173.0f, 1e-45f,    -1e-45f,
    0.70710677f, 0.7071068f, 1.4142135f};

typedef struct worst_case {
  double ulps;
  float x, y, got;
} worst_case;

static void note(worst_case *w, double u, float x, float y, float got) {
  if (!(u > w->ulps)) return;
  *w = (worst_case){u, x, y, got};
}

static void run_batch(array_fn *vec, array_fn *sca, size_t r, const float *x,
                      size_t n, worst_case *w) {
  static float a[BATCH], b[BATCH];
  vec(x, x, a, (int64_t)n);
  sca(x, x, b, (int64_t)n);
  for (size_t i = 0; i < n; i++) {
    if (memcmp(&a[i], &b[i], 4) != 0 && !(isnan(a[i]) && isnan(b[i])))
      fail_msg("%s(%a): vector %a, scalar %a", rows[r].name, (double)x[i],
               (double)a[i], (double)b[i]);
    note(w, ulps(a[i], rows[r].ref((double)x[i])), x[i], 0, a[i]);
  }
}

static void check_unary(machine *m, size_t r) {
  static float x[BATCH];
  char name[64];
  snprintf(name, sizeof name, "v_%s", rows[r].name);
  array_fn *vec = find(m, name);
  name[0] = 's';
  array_fn *sca = find(m, name);
  worst_case w = {0};
  memcpy(x, special, sizeof special);
  run_batch(vec, sca, r, x, PRN_COUNT(special), &w);
  uint64_t at = 0, step = stride();
  while (at < UINT64_C(1) << 32) {
    size_t n = 0;
    for (; n < BATCH - 3 && at < UINT64_C(1) << 32; at += step)
      x[n++] = from_bits((uint32_t)at);
    run_batch(vec, sca, r, x, n, &w);
  }
  double bound = m->target->fma ? rows[r].with_fma : rows[r].without;
  print_message("  %-10s %.3f ulp at %a (bound %.1f)\n", rows[r].name, w.ulps,
                (double)w.x, bound);
  if (!(w.ulps <= bound))
    fail_msg("%s(%a) = %a: %.3f ulp, bound %.1f", rows[r].name, (double)w.x,
             (double)w.got, w.ulps, bound);
}

static void test_unary(void **state) {
  (void)state;
  for (size_t l = 0; l < PRN_COUNT(levels); l++) {
    if (!runs_here(levels[l])) {
      print_message("%s: this machine cannot run it, skipped\n", levels[l]);
      continue;
    }
    print_message("%s\n", levels[l]);
    machine m;
    open_machine(&m, levels[l]);
    prn_cg *g = prn_cg_create(m.target, "vecmath");
    for (size_t r = 0; r < PRN_COUNT(rows); r++) {
      char name[64];
      snprintf(name, sizeof name, "v_%s", rows[r].name);
      emit_array(g, name, (emission){.unary = rows[r].emit}, m.target->lanes);
      name[0] = 's';
      emit_array(g, name, (emission){.unary = rows[r].emit}, 1);
    }
    load(&m, g);
    for (size_t r = 0; r < PRN_COUNT(rows); r++)
      check_unary(&m, r);
    close_machine(&m);
  }
}

/* ---- bounds of another kind ---- */

static double ref_gelu(double x) { return x / 2 * erfc(-x * M_SQRT1_2); }

static void check_gelu(bool fma, float x, float got) {
  double want = isinf(x) ? fmax((double)x, 0) : ref_gelu((double)x);
  double most = fma ? 4e-8 : 6e-8;
  bool ok = x >= 0 ? ulps(got, want) <= 2 : fabs((double)got - want) <= most;
  if (isnan(x) ? !isnan(got) : !ok)
    fail_msg("gelu(%a) = %a, expected %a", (double)x, (double)got, want);
}

/* 0 or near it where exp is subnormal. */
static void check_exp_down(bool fma, float x, float got) {
  (void)fma;
  double want = exp((double)x);
  if (x < -87 ? got < 0 || (double)got > 2 * want : !(ulps(got, want) <= 1.1))
    fail_msg("exp_down(%a) = %a, expected %a", (double)x, (double)got, want);
}

static const struct {
  const char *name;
  emit_fn *emit;
  void (*check)(bool fma, float x, float got);
  bool below; /* for x <= 0 only */
} others[] = {{"gelu", prn_vm_gelu, check_gelu, false},
              {"exp_down", prn_vm_exp_down, check_exp_down, true}};

static void check_other(machine *m, size_t r) {
  static float x[BATCH], out[BATCH];
  array_fn *f = find(m, others[r].name);
  uint64_t at = 0, step = stride();
  memcpy(x, special, sizeof special);
  for (size_t n = PRN_COUNT(special);; n = 0) {
    for (; n < BATCH && at < UINT64_C(1) << 32; at += step)
      x[n++] = from_bits((uint32_t)at);
    f(x, x, out, (int64_t)n);
    for (size_t i = 0; i < n; i++)
      if (!others[r].below || !(x[i] > 0))
        others[r].check(m->target->fma, x[i], out[i]);
    if (at >= UINT64_C(1) << 32) break;
  }
}

static void test_others(void **state) {
  (void)state;
  for (size_t l = 0; l < PRN_COUNT(levels); l++) {
    if (!runs_here(levels[l])) continue;
    machine m;
    open_machine(&m, levels[l]);
    prn_cg *g = prn_cg_create(m.target, "vecmath");
    for (size_t r = 0; r < PRN_COUNT(others); r++)
      emit_array(g, others[r].name, (emission){.unary = others[r].emit},
                 m.target->lanes);
    load(&m, g);
    for (size_t r = 0; r < PRN_COUNT(others); r++)
      check_other(&m, r);
    close_machine(&m);
  }
}

/* ---- functions of two ---- */

static double ref_max(double a, double b) {
  return isnan(a) || isnan(b) ? (double)NAN : a > b ? a : b;
}
static double ref_min(double a, double b) {
  return isnan(a) || isnan(b) ? (double)NAN : a < b ? a : b;
}

static const struct {
  const char *name;
  prn_v (*emit)(prn_cg *, prn_v, prn_v);
  double (*ref)(double, double);
  double bound;
} pairs[] = {{"pow", prn_vm_pow, pow, 0.6},
             {"fmod", prn_vm_fmod, fmod, 0},
             {"max", prn_vm_max, ref_max, 0},
             {"min", prn_vm_min, ref_min, 0}};

static void check_pair(array_fn *f, size_t p) {
  static float x[BATCH], y[BATCH], out[BATCH];
  worst_case w = {0};
  uint32_t s = 12345;
  enum { S = PRN_COUNT(special) };
  for (size_t round = 0; round < 200; round++) {
    for (size_t i = 0; i < BATCH; i++) {
      uint32_t a = s = s * 1664525 + 1013904223;
      uint32_t b = s = s * 1664525 + 1013904223;
      x[i] = from_bits(a);
      y[i] = from_bits(b);
      if (round % 2) { /* moderate values, whole exponents among them */
        x[i] = (float)(int32_t)a * 0x1p-28f;
        y[i] = i % 3 ? (float)(int32_t)b * 0x1p-25f : (float)((int32_t)b >> 26);
      }
      if (round == 0) {
        x[i] = special[i % S];
        y[i] = special[i / S % S];
      }
    }
    f(x, y, out, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
      double want = pairs[p].ref((double)x[i], (double)y[i]);
      /* Which zero max and min pick is not specified. */
      if (p >= 2 && want == 0 && out[i] == 0) continue;
      note(&w, ulps(out[i], want), x[i], y[i], out[i]);
    }
  }
  print_message("  %-10s %.3f ulp\n", pairs[p].name, w.ulps);
  if (!(w.ulps <= pairs[p].bound))
    fail_msg("%s(%a, %a) = %a: %.3f ulp", pairs[p].name, (double)w.x,
             (double)w.y, (double)w.got, w.ulps);
}

static void test_pairs(void **state) {
  (void)state;
  for (size_t l = 0; l < PRN_COUNT(levels); l++) {
    if (!runs_here(levels[l])) continue;
    machine m;
    open_machine(&m, levels[l]);
    prn_cg *g = prn_cg_create(m.target, "pairs");
    for (size_t p = 0; p < PRN_COUNT(pairs); p++)
      emit_array(g, pairs[p].name, (emission){.binary = pairs[p].emit},
                 m.target->lanes);
    load(&m, g);
    for (size_t p = 0; p < PRN_COUNT(pairs); p++)
      check_pair(find(&m, pairs[p].name), p);
    close_machine(&m);
  }
}

/* ---- doubles ---- */

static void body64(prn_cg *g, prn_v i, unsigned lanes, prn_v mask, void *user) {
  emission *e = user;
  prn_t t = prn_cg_vec(g->f64, lanes);
  prn_v x = prn_cg_load_masked(g, t, cg_at(g, g->f64, e->x, i), mask);
  prn_v y = prn_cg_load_masked(g, t, cg_at(g, g->f64, e->y, i), mask);
  prn_cg_store_masked(g, e->binary(g, x, y), cg_at(g, g->f64, e->out, i), mask);
}

typedef void doubles_fn(const double *x, const double *y, double *out,
                        int64_t n);

static double from_bits64(uint64_t v) {
  double d;
  memcpy(&d, &v, sizeof d);
  return d;
}

static void check_fmod64(doubles_fn *f) {
  static const double odd[] = {0,       -0.0,     1,       -1,
                               0.1,     -0.3,     5e-324,  -0x1.8p-1070,
                               DBL_MIN, -DBL_MAX, DBL_MAX, 0x1p53 - 1,
                               3,       INFINITY, NAN,     -INFINITY};
  static double x[BATCH], y[BATCH], out[BATCH];
  enum { S = PRN_COUNT(odd) };
  uint64_t s = 12345;
  int e;
  for (size_t round = 0; round < 50; round++) {
    for (size_t i = 0; i < BATCH; i++) {
      uint64_t a = s = s * 6364136223846793005 + 1442695040888963407;
      uint64_t b = s = s * 6364136223846793005 + 1442695040888963407;
      x[i] = round ? from_bits64(a) : odd[i % S];
      y[i] = round ? from_bits64(b) : odd[i / S % S];
      if (round % 2) { /* exponents near each other, and subnormals */
        x[i] = ldexp(frexp(x[i], &e), -1000 - (int)(a % 75));
        y[i] = ldexp(frexp(y[i], &e), -1010 - (int)(b % 65));
      }
    }
    f(x, y, out, BATCH);
    for (size_t i = 0; i < BATCH; i++) {
      double want = fmod(x[i], y[i]);
      bool same = isnan(want) ? isnan(out[i])
                              : memcmp(&out[i], &want, sizeof want) == 0;
      if (!same)
        fail_msg("fmod(%a, %a) = %a, expected %a", x[i], y[i], out[i], want);
    }
  }
}

/* Bit for bit, up to which NaN. */
static void test_fmod64(void **state) {
  (void)state;
  for (size_t l = 0; l < PRN_COUNT(levels); l++) {
    if (!runs_here(levels[l])) continue;
    machine m;
    uintptr_t f = 0;
    open_machine(&m, levels[l]);
    prn_cg *g = prn_cg_create(m.target, "doubles");
    emit_loop(g, "fmod64", (emission){.binary = prn_vm_fmod},
              m.target->lanes / 2, body64);
    load(&m, g);
    assert_int_equal(prn_jit_find(m.jit, &m.sink, "fmod64", &f), PRN_OK);
    check_fmod64((doubles_fn *)f);
    close_machine(&m);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unary),
      cmocka_unit_test(test_others),
      cmocka_unit_test(test_pairs),
      cmocka_unit_test(test_fmod64),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
