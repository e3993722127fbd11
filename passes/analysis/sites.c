#include "passes/analysis/sites.h"

#include <stdlib.h>
#include <string.h>

#include "passes/analysis/tables.h"

enum {
  MAX_DEPTH = 64,      /* of views between a constant and its use */
  MAX_STEPS = 1 << 16, /* for one constant: functions may call each other */
};

/* Marks of values: FIXED when only constants make it, and the number of the
 * walk that entered it last. */
#define FIXED 0x80000000u

/* What the walk over one constant's uses found. */
typedef struct found {
  prn_site_use *uses;
  size_t num_uses, cap_uses;
  prn_weight_view view; /* of the first use in program order */
  const prn_op *first;
  bool embedding, depthwise, quantised, mixed, lost, too_deep;
  unsigned steps;
  const prn_op *computed; /* it passes through this arithmetic */
  const prn_op *other;    /* a use that is none of a weight */
} found;

typedef struct walker {
  prn_module *module;
  prn_map functions; /* "domain\nname" -> onnx.function */
  prn_arena scratch;
  uint32_t stamp; /* of this walk; see first_visit */
  found now;
  const prn_op *calls[MAX_DEPTH]; /* of functions, entered and not left */
  unsigned num_calls;
  bool floats; /* what the constant holds */
  bool matrix; /* of floats: may be made into a weight */
} walker;

/* Whether this walk enters v for the first time. */
static bool first_visit(const walker *w, prn_value *v) {
  if ((v->mark & ~FIXED) == w->stamp) return false;
  v->mark = (v->mark & FIXED) | w->stamp;
  return true;
}

static bool before(const prn_op *a, const prn_op *b) {
  return !b || a->mark < b->mark;
}

static void note_use(walker *w, prn_use *use, const prn_weight_view *view,
                     bool ok) {
  found *f = &w->now;
  if (f->num_uses == f->cap_uses) {
    f->cap_uses = f->cap_uses ? f->cap_uses * 2 : 4;
    f->uses =
        prn_realloc(f->uses, prn_array_size(sizeof *f->uses, f->cap_uses));
  }
  prn_site_use at = {use->owner, prn_use_index(use)};
  for (size_t i = 0; i < f->num_uses; i++) /* by another call */
    if (f->uses[i].op == at.op && f->uses[i].slot == at.slot) return;
  f->uses[f->num_uses++] = at;
  f->embedding |= view->embedding;
  f->depthwise |= view->depthwise;
  f->quantised |= view->quantised;
  if (ok && f->first) f->mixed |= memcmp(&f->view, view, sizeof *view) != 0;
  if (!ok)
    f->lost = true;
  else if (before(use->owner, f->first)) {
    f->view = *view;
    f->first = use->owner;
  }
}

static void note_other(const prn_op **slot, const prn_op *op) {
  if (before(op, *slot)) *slot = op;
}

static prn_op *callee(const walker *w, const prn_op *op) {
  prn_strbuf key = {0};
  if (!w->functions.size) return NULL;
  prn_str domain = op->opname->dialect;
  if (!prn_str_is(domain, "onnx")) prn_strbuf_str(&key, domain);
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, op->opname->name);
  prn_op *f = prn_map_get(&w->functions, prn_strbuf_view(&key));
  prn_strbuf_destroy(&key);
  return f;
}

static void follow(walker *w, prn_value *v, const prn_layout *l, bool lost,
                   int depth);

/* Into the body of a model-local function; false when op calls none. */
static bool follow_call(walker *w, const prn_use *use, const prn_layout *l,
                        bool lost, int depth) {
  prn_op *f = callee(w, use->owner);
  uint32_t i = prn_use_index(use);
  if (!f || !f->num_blocks) return false;
  prn_block *body = f->blocks[0];
  if (i >= body->num_args) return true;
  if (w->num_calls == MAX_DEPTH) {
    w->now.too_deep = true;
    return true;
  }
  w->calls[w->num_calls++] = use->owner;
  follow(w, body->args[i], l, lost, depth + 1);
  w->num_calls--;
  return true;
}

/* Out of a branch, or of the function that was entered last; false when the
 * block is another one. */
static bool follow_return(walker *w, const prn_use *use, const prn_layout *l,
                          bool lost, int depth) {
  prn_op *op = use->owner, *to = op->block->parent;
  uint32_t i = prn_use_index(use);
  if (!prn_op_is(op, PRN_OP_onnx_return) || !to) return false;
  if (prn_op_is(to, PRN_OP_onnx_If)) {
    if (i < to->num_results) follow(w, &to->results[i], l, lost, depth + 1);
    return true;
  }
  if (!prn_op_is(to, PRN_OP_onnx_function) || w->num_calls == 0) return false;
  const prn_op *call = w->calls[--w->num_calls];
  if (i < call->num_results) follow(w, &call->results[i], l, lost, depth + 1);
  w->calls[w->num_calls++] = call;
  return true;
}

static bool named(const prn_op *op, const char *const *names, size_t n) {
  if (!prn_str_is(op->opname->dialect, "onnx")) return false;
  for (size_t i = 0; i < n; i++)
    if (prn_str_is(op->opname->name, names[i])) return true;
  return false;
}

/* An operation on constants alone: the weight is what comes out. */
static bool is_derivation(const prn_op *op) {
  return op->num_results && (op->results[0].mark & FIXED);
}

static bool is_harmless(const prn_op *op) {
  static const char *const names[] = {"Shape", "Size"};
  return named(op, names, PRN_COUNT(names));
}

static void follow_use(walker *w, prn_use *use, const prn_layout *l, bool lost,
                       int depth) {
  static const char *const scaled[] = {"DequantizeLinear", "QuantizeLinear"};
  prn_op *op = use->owner;
  prn_weight_view view = {.layout = *l};
  bool ok = !lost;
  if (prn_weight_slot(op, prn_use_index(use), &view, &ok)) {
    note_use(w, use, &view, ok && !lost);
    return;
  }
  if (prn_use_index(use) == 0 && op->num_results) {
    prn_layout next = *l;
    bool fits = true;
    if (prn_view_op(op, &next, &fits)) {
      follow(w, &op->results[0], &next, lost || !fits, depth + 1);
      return;
    }
    /* Of a float, zero stays zero on the way to bytes and back. */
    if (named(op, scaled, PRN_COUNT(scaled))) {
      w->now.quantised |= !w->floats;
      follow(w, &op->results[0], l, lost, depth + 1);
      return;
    }
  }
  if (follow_call(w, use, l, lost, depth) ||
      follow_return(w, use, l, lost, depth) || is_harmless(op))
    return;
  if (is_derivation(op)) {
    if (!w->matrix) return;
    note_other(&w->now.computed, op);
    for (uint32_t i = 0; i < op->num_results; i++)
      if (first_visit(w, &op->results[i]))
        follow(w, &op->results[i], l, true, depth + 1);
    return;
  }
  note_other(&w->now.other, op);
}

/* Recursion is bounded by MAX_DEPTH. The body of a function is walked for each
 * call, since what it returns goes on there. */
static void follow(walker *w, prn_value *v, const prn_layout *l, bool lost,
                   int depth) {
  if (depth > MAX_DEPTH || w->now.steps++ > MAX_STEPS) {
    w->now.too_deep = true;
    return;
  }
  PRN_EACH_USE(use, v)
    follow_use(w, use, l, lost, depth);
}

static int by_program_order(const void *a, const void *b) {
  const prn_site_use *x = a, *y = b;
  if (x->op->mark != y->op->mark) return x->op->mark < y->op->mark ? -1 : 1;
  return (x->slot > y->slot) - (x->slot < y->slot);
}

/* Sets why the site cannot be pruned, most telling reason first. */
static void judge(prn_site *s, const found *f, prn_ctx *ctx) {
  prn_strbuf b = {0};
  const prn_tensor *t = prn_site_tensor(s);
  prn_reason reason = PRN_REASON_COUNT;
  if (!t) {
    reason = PRN_REASON_SparseForm;
  } else if (f->quantised) {
    reason = PRN_REASON_Quantised;
  } else if (!prn_dtype_is_float(t->type->dtype)) {
    reason = PRN_REASON_NotFloat;
    prn_strbuf_fmt(&b, ": %s", prn_dtype_name(t->type->dtype));
  } else if (f->computed) {
    reason = PRN_REASON_Computed;
    prn_strbuf_fmt(&b, " by %.*s", PRN_STR_ARG(prn_op_subject(f->computed)));
  } else if (f->other) {
    reason = PRN_REASON_UsedElsewhere;
    prn_strbuf_fmt(&b, ": %.*s", PRN_STR_ARG(prn_op_subject(f->other)));
  } else if (f->embedding) {
    reason = PRN_REASON_Embedding;
    if (f->num_uses > 1) prn_strbuf_cstr(&b, ", shared with other operators");
  } else if (f->lost || f->too_deep || !f->first) {
    reason = PRN_REASON_UnknownLayout;
  } else if (f->depthwise) {
    reason = PRN_REASON_Depthwise;
  }
  s->prunable = reason == PRN_REASON_COUNT;
  s->reason = reason;
  s->detail = b.size ? prn_intern(ctx, prn_strbuf_view(&b)).data : "";
  prn_strbuf_destroy(&b);
}

static prn_str name_of(const prn_op *constant) {
  const prn_value *v = &constant->results[0];
  return v->name.size ? v->name : prn_str_from(prn_value_str(v));
}

static void add_site(walker *w, prn_sites *s, size_t *cap, prn_op *constant) {
  found *f = &w->now;
  if (s->size == *cap) {
    *cap = *cap ? *cap * 2 : 32;
    s->at = prn_realloc(s->at, prn_array_size(sizeof *s->at, *cap));
  }
  prn_site *site = &s->at[s->size];
  *site = (prn_site){.constant = constant,
                     .name = name_of(constant),
                     .layout = f->view.layout,
                     .index = (uint32_t)s->size,
                     .num_uses = f->num_uses,
                     .mixed = f->mixed};
  memcpy(site->roles, f->view.roles, sizeof site->roles);
  if (f->num_uses > 1)
    qsort(f->uses, f->num_uses, sizeof *f->uses, by_program_order);
  site->uses = prn_arena_copy(&s->arena, f->uses,
                              prn_array_size(sizeof *f->uses, f->num_uses));
  judge(site, f, w->module->ctx);
  s->size++;
}

static bool is_source(const prn_op *op) {
  if (!op->num_results) return false;
  if (prn_op_is(op, PRN_OP_onnx_sparse_initializer)) return true;
  const prn_tensor *t = prn_value_constant(&op->results[0]);
  return t && t->type->dtype != PRN_STRING;
}

typedef struct collector {
  walker w;
  prn_sites *sites;
  size_t cap;
} collector;

static prn_status visit(void *user, prn_op *op) {
  collector *c = user;
  walker *w = &c->w;
  prn_weight_view *view = &w->now.view;
  if (!is_source(op)) return PRN_OK;
  prn_site_use *uses = w->now.uses;
  size_t cap_uses = w->now.cap_uses;
  w->now = (found){.uses = uses, .cap_uses = cap_uses};
  w->stamp++;
  const prn_tensor *t = prn_value_constant(&op->results[0]);
  bool lost = !t || !prn_layout_of(t->type, &view->layout);
  w->floats = t && prn_dtype_is_float(t->type->dtype);
  w->matrix = w->floats && t->type->rank >= 2;
  w->num_calls = 0;
  prn_layout l = view->layout;
  follow(w, &op->results[0], &l, lost, 0);
  if (w->now.num_uses) add_site(w, c->sites, &c->cap, op);
  return PRN_OK;
}

typedef struct numbering {
  walker *w;
  uint32_t next;
} numbering;

static bool all_fixed(const prn_op *op) {
  if (!prn_op_has_trait(op, PRN_PURE) || op->num_blocks ||
      prn_op_has_trait(op, PRN_RANDOM))
    return false;
  for (uint32_t i = 0; i < op->num_operands; i++)
    if (op->operands[i].value && !(op->operands[i].value->mark & FIXED))
      return false;
  return true;
}

static void add_function(walker *w, prn_op *op) {
  prn_strbuf key = {0};
  prn_strbuf_str(&key, prn_op_string(op, "domain", ""));
  prn_strbuf_char(&key, '\n');
  prn_strbuf_str(&key, prn_op_string(op, "name", ""));
  prn_str s = prn_strbuf_view(&key);
  s.data = prn_arena_copy(&w->scratch, s.data, s.size);
  *prn_map_slot(&w->functions, s) = op;
  prn_strbuf_destroy(&key);
}

/* Numbers the operations in program order, marks what only constants make, and
 * finds the functions. */
static prn_status number(void *user, prn_op *op) {
  numbering *n = user;
  uint32_t mark = all_fixed(op) ? FIXED : 0;
  op->mark = n->next++;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].mark = mark;
  for (uint32_t i = 0; i < op->num_blocks; i++)
    for (uint32_t k = 0; k < op->blocks[i]->num_args; k++)
      op->blocks[i]->args[k]->mark = 0;
  if (prn_op_is(op, PRN_OP_onnx_function)) add_function(n->w, op);
  return PRN_OK;
}

static void sites_destroy(void *data) {
  prn_sites *s = data;
  prn_free(s->at);
  prn_arena_destroy(&s->arena);
  prn_ptrmap_destroy(&s->by_constant);
  prn_free(s);
}

static prn_status sites_compute(prn_analyses *all, prn_module *m, void **out) {
  prn_sites *s = prn_alloc(sizeof *s);
  collector c = {.w = {.module = m}, .sites = s};
  numbering n = {.w = &c.w, .next = 1};
  (void)all;
  *s = (prn_sites){0};
  *out = s;
  prn_status status = prn_walk(m->body, true, number, &n);
  if (status == PRN_OK) status = prn_walk(m->body, true, visit, &c);
  for (size_t i = 0; i < s->size; i++)
    *prn_ptrmap_slot(&s->by_constant, s->at[i].constant) = &s->at[i];
  prn_map_destroy(&c.w.functions);
  prn_arena_destroy(&c.w.scratch);
  prn_free(c.w.now.uses);
  return status;
}

static bool same_site(const prn_site *a, const prn_site *b) {
  bool same = a->constant == b->constant && a->num_uses == b->num_uses &&
              a->reason == b->reason &&
              memcmp(&a->layout, &b->layout, sizeof a->layout) == 0 &&
              memcmp(a->roles, b->roles, sizeof a->roles) == 0;
  for (size_t i = 0; same && i < a->num_uses; i++)
    same = a->uses[i].op == b->uses[i].op && a->uses[i].slot == b->uses[i].slot;
  return same;
}

static bool sites_holds(prn_analyses *all, prn_module *m, const void *data) {
  const prn_sites *old = data;
  void *fresh;
  if (sites_compute(all, m, &fresh) != PRN_OK) return false;
  const prn_sites *now = fresh;
  bool same = now->size == old->size;
  for (size_t i = 0; same && i < now->size; i++)
    same = same_site(&now->at[i], &old->at[i]);
  sites_destroy(fresh);
  return same;
}

const prn_analysis prn_analysis_sites = {
    .name = "sites",
    .doc = "which constants are weights of which operators",
    .compute = sites_compute,
    .destroy = sites_destroy,
    .holds = sites_holds,
};

const prn_site *prn_site_of(const prn_sites *s, const prn_op *constant) {
  return prn_ptrmap_get(&s->by_constant, constant);
}

const prn_site *prn_site_at(const prn_sites *s, const prn_op *op,
                            uint32_t slot) {
  const prn_value *v = prn_op_operand(op, slot);
  for (int depth = 0; v && v->def && depth <= MAX_DEPTH; depth++) {
    prn_layout ignored = {.rank = 0};
    bool ok;
    const prn_site *site = prn_site_of(s, v->def);
    if (site) return site;
    if (!prn_view_op(v->def, &ignored, &ok)) return NULL;
    v = prn_op_operand(v->def, 0);
  }
  return NULL;
}

bool prn_site_memory_axis(const prn_site *s, prn_role role, int32_t *axis) {
  const prn_tensor *t = prn_site_tensor(s);
  uint32_t mine = prn_site_axes(s, 1u << role);
  prn_factor run;
  if (!t || s->mixed || !mine || (mine & (mine - 1))) return false;
  int32_t at = __builtin_ctz(mine);
  if (!prn_layout_run(&s->layout, at, at + 1, &run)) return false;
  int64_t inner = 1, size;
  for (*axis = t->type->rank; (*axis)-- > 0; inner *= size) {
    if (!prn_dim_is_const(t->type->dims[*axis], &size)) return false;
    if (size == run.size && (size == 1 || inner == run.stride)) return true;
  }
  return false;
}

uint32_t prn_site_axes(const prn_site *s, uint32_t roles) {
  uint32_t axes = 0;
  for (int32_t i = 0; i < s->layout.rank; i++)
    axes |= (roles >> s->roles[i] & 1u) << i;
  return axes;
}
