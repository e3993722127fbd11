/* What a model costs, as products of sizes; see coupling.h. */
#include <string.h>

#include "passes/analysis/couple.h"
#include "passes/analysis/coupling.h"

enum { MAX_SPACES = 40 };

/* ---- sizes ---- */

/* Sizes of atoms: left[g], or all of them; one of them may be another. */
typedef struct sizes {
  const int64_t *left;
  const prn_space *atom;
  int64_t n;
} sizes;

static double size_of(prn_space *x, const sizes *s) {
  int64_t n;
  x = prn_space_find(x);
  if (x->kind == PRN_SPACE_ATOM) {
    if (x == s->atom) return (double)s->n;
    if (s->left && x->id) return (double)s->left[x->id - 1];
    return prn_dim_is_const(x->size, &n) ? (double)n : 1;
  }
  bool sum = x->kind == PRN_SPACE_SUM;
  double all = sum ? 0 : 1;
  for (uint32_t i = 0; i < x->n; i++) {
    double each = size_of(x->parts[i], s);
    all = sum ? all + each : all * each;
  }
  return all;
}

static double value_of(const prn_cost_term *t, const sizes *s) {
  double v = t->factor;
  for (uint32_t i = 0; i < t->n; i++)
    v *= size_of(t->spaces[i], s);
  return v;
}

double prn_coupling_cost(const prn_coupling *c, prn_model_cost of,
                         const int64_t *left) {
  sizes s = {.left = left};
  double all = 0;
  for (size_t i = 0; i < c->num_terms; i++) {
    const prn_cost_term *t = &c->terms[i];
    if ((t->of == PRN_MODEL_FLOPS) != (of == PRN_MODEL_FLOPS)) continue;
    all += value_of(t, &s) * (of == PRN_MODEL_BYTES ? t->bytes : 1);
  }
  return all;
}

/* ---- terms ---- */

static prn_cost_term *add(prn_coupling *c, prn_model_cost of, double bytes) {
  if (c->num_terms == c->cap_terms) {
    c->cap_terms = c->cap_terms ? 2 * c->cap_terms : 256;
    c->terms =
        prn_realloc(c->terms, prn_array_size(sizeof *c->terms, c->cap_terms));
  }
  prn_cost_term *t = &c->terms[c->num_terms++];
  *t = (prn_cost_term){
      .of = of, .factor = of == PRN_MODEL_FLOPS ? 2 : 1, .bytes = bytes};
  t->spaces = PRN_ARENA_ARRAY(&c->arena, prn_space *, MAX_SPACES);
  return t;
}

/* Axes [from, rank) of v. */
static void add_axes(prn_couple *c, prn_cost_term *t, const prn_value *v,
                     int32_t from) {
  prn_space **d = prn_couple_dims(c, v);
  for (int32_t i = from; d && i < v->type->rank; i++)
    if (d[i] && t->n < MAX_SPACES) t->spaces[t->n++] = d[i];
}

static int32_t rank_of(const prn_value *v) {
  return v && prn_type_is_ranked(v->type) ? v->type->rank : -1;
}

/* A product costs its results times what is summed for each: of a convolution
 * all that its weights hold for one of them. */
static void add_product(prn_couple *c, const prn_op *op) {
  bool conv = prn_op_is(op, PRN_OP_onnx_Conv);
  bool gemm = prn_op_is(op, PRN_OP_onnx_Gemm);
  if (!conv && !gemm && !prn_op_is(op, PRN_OP_onnx_MatMul)) return;
  const prn_value *a = prn_op_operand(op, 0), *w = prn_op_operand(op, 1);
  prn_space **d = prn_couple_dims(c, a);
  if (!d || rank_of(a) < 1 || !prn_couple_dims(c, &op->results[0])) return;
  prn_cost_term *t = add(c->out, PRN_MODEL_FLOPS, 0);
  add_axes(c, t, &op->results[0], 0);
  if (conv) {
    add_axes(c, t, w, 1);
    return;
  }
  bool turned = gemm && prn_op_int(op, "transA", 0);
  prn_space *k = d[turned ? 0 : rank_of(a) - 1];
  if (k) t->spaces[t->n++] = k;
}

/* ---- of a group ---- */

typedef struct marginal {
  prn_coupling *c;
  const prn_cost_term *term;
  const prn_space *seen[MAX_SPACES];
  uint32_t num_seen;
} marginal;

static void add_atom(void *user, prn_space *atom) {
  marginal *m = user;
  if (!atom->id) return;
  for (uint32_t i = 0; i < m->num_seen; i++)
    if (m->seen[i] == atom) return;
  if (m->num_seen == MAX_SPACES) return;
  m->seen[m->num_seen++] = atom;
  prn_group *g = &m->c->groups[atom->id - 1];
  sizes all = {.atom = atom, .n = g->size},
        less = {.atom = atom, .n = g->size - 1};
  g->flops += value_of(m->term, &all) - value_of(m->term, &less);
}

void prn_couple_costs(prn_couple *c, const prn_op *graph) {
  prn_coupling *out = c->out;
  size_t first = out->num_terms;
  PRN_EACH_OP(op, prn_op_block(graph, "body")) {
    if (prn_op_has_trait(op, PRN_CONSTANT)) {
      const prn_tensor *t =
          op->num_results ? prn_value_constant(&op->results[0]) : NULL;
      if (t && prn_dtype_is_float(t->type->dtype))
        add_axes(c,
                 add(out, PRN_MODEL_PARAMS,
                     (double)prn_dtype_bits(t->type->dtype) / 8),
                 &op->results[0], 0);
    } else {
      add_product(c, op);
    }
  }
  for (size_t i = first; i < out->num_terms; i++) {
    marginal m = {.c = out, .term = &out->terms[i]};
    for (uint32_t k = 0; m.term->of == PRN_MODEL_FLOPS && k < m.term->n; k++)
      prn_space_atoms(m.term->spaces[k], add_atom, &m);
  }
}
