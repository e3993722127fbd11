/* Names for every value.
 *
 * Values keep their names. A name is made up where there is none, where a pass
 * left two values of one name in a graph, and where an inner name would hide an
 * outer value that is used inside. Graph outputs have the names the model was
 * read with, whatever value they are now: the value takes the name when it can,
 * otherwise an Identity node makes it. */
#include "backends/onnx/exporter.h"

#include <string.h>

typedef struct scope {
  const struct scope *parent;
  const prn_block *block;
  prn_ptrmap names; /* interned name -> value; NULL value: reserved */
} scope;

prn_str export_name(const exporter *x, const prn_value *v) {
  const prn_str *s = x->names.size ? prn_ptrmap_get(&x->names, v) : NULL;
  return s ? *s : v->name;
}

static bool inside(const prn_block *b, const prn_block *outer) {
  while (b && b != outer)
    b = b->parent ? b->parent->block : NULL;
  return b != NULL;
}

/* Would a value called `name` in s hide one that is used in s? */
static bool hides(const scope *s, prn_str name) {
  for (const scope *p = s->parent; p; p = p->parent) {
    const prn_value *v = prn_ptrmap_get(&p->names, name.data);
    if (!v) continue;
    PRN_EACH_USE(u, v)
      if (inside(u->owner->block, s->block)) return true;
  }
  return false;
}

static prn_status take_names(void *user, prn_op *op) {
  exporter *x = user;
  for (uint32_t i = 0; i < op->num_results; i++)
    if (op->results[i].name.size)
      (void)prn_map_slot(&x->taken, op->results[i].name);
  for (uint32_t b = 0; b < op->num_blocks; b++)
    for (uint32_t i = 0; i < op->blocks[b]->num_args; i++)
      (void)prn_map_slot(&x->taken, op->blocks[b]->args[i]->name);
  const prn_attr *outputs = prn_op_attr(op, "outputs");
  for (uint32_t i = 0;
       outputs && outputs->kind == PRN_ATTR_STRINGS && i < outputs->size; i++)
    (void)prn_map_slot(&x->taken, outputs->strings[i]);
  return PRN_OK;
}

/* A name that nothing in the module has, made from `like`. */
static prn_str fresh_name(exporter *x, prn_str like) {
  if (x->taken.size == 0) {
    (void)prn_map_slot(&x->taken, (prn_str){"", 0});
    (void)!prn_walk(x->module->body, true, take_names, x);
  }
  prn_strbuf b = {0};
  prn_str base = like.size ? like : PRN_STR("v");
  for (size_t n = 1;; n++) {
    b.size = 0;
    prn_strbuf_str(&b, base);
    prn_strbuf_fmt(&b, "_%zu", n);
    if (!prn_map_find(&x->taken, prn_strbuf_view(&b))) break;
  }
  prn_str name = prn_intern(x->ctx, prn_strbuf_view(&b));
  prn_strbuf_destroy(&b);
  (void)prn_map_slot(&x->taken, name);
  return name;
}

static void give(exporter *x, scope *s, prn_value *v, prn_str name) {
  *prn_ptrmap_slot(&s->names, name.data) = v;
  if (prn_str_eq(name, v->name)) return;
  *prn_ptrmap_slot(&x->names, v) =
      prn_arena_copy(&x->module->arena, &name, sizeof name);
}

static bool has_name(const exporter *x, const scope *s, const prn_value *v) {
  prn_str name = export_name(x, v);
  return name.size && prn_ptrmap_get(&s->names, name.data) == v;
}

static void name_value(exporter *x, scope *s, prn_value *v) {
  if (v->type->kind == PRN_TYPE_NONE && v->name.size == 0 && !v->uses) return;
  if (has_name(x, s, v)) return;
  prn_str name = v->name;
  if (name.size == 0 || prn_ptrmap_has(&s->names, name.data) || hides(s, name))
    name = fresh_name(x, v->name);
  give(x, s, v, name);
}

static bool is_input(const prn_value *v) {
  return !v->def || (!export_is_node(v->def) && prn_op_attr(v->def, "input"));
}

/* Output i is called `want`: can the value itself be? Inputs keep their
 * names, and a value has only one. */
static bool can_take(exporter *x, const scope *s, const prn_value *v,
                     prn_str want) {
  if (v->block != s->block || prn_ptrmap_has(&s->names, want.data))
    return has_name(x, s, v) && prn_str_eq(export_name(x, v), want);
  return !is_input(v) && !has_name(x, s, v);
}

static void name_outputs(exporter *x, scope *s, const prn_attr *wanted) {
  const prn_op *ret = s->block->last;
  bool fixed = wanted && wanted->kind == PRN_ATTR_STRINGS;
  returned *r = PRN_ARENA_ARRAY(&x->module->arena, returned, ret->num_operands);
  for (uint32_t i = 0; i < ret->num_operands; i++) {
    prn_value *v = ret->operands[i].value;
    if (!v) {
      x->failed = true;
      (void)prn_op_error(ret, "output %u is absent", (unsigned)i);
      continue;
    }
    prn_str want = v->name;
    if (fixed && i < wanted->size) want = wanted->strings[i];
    if (want.size == 0 || (!fixed && !has_name(x, s, v) && hides(s, want)))
      want = fresh_name(x, want);
    if (can_take(x, s, v, want)) {
      if (!has_name(x, s, v)) give(x, s, v, want);
    } else {
      bool taken = prn_ptrmap_has(&s->names, want.data) || hides(s, want);
      if (taken && fixed && i < wanted->size) {
        x->failed = true;
        (void)prn_op_error(ret,
                           "output %u, '%.*s', has the name of another "
                           "input or output",
                           (unsigned)i, PRN_STR_ARG(want));
      }
      if (taken || v->block != s->block) want = fresh_name(x, want);
      *prn_ptrmap_slot(&s->names, want.data) = NULL;
      r[i].identity = true;
    }
    r[i].name = want;
  }
  *prn_ptrmap_slot(&x->returns, ret) = r;
}

static void plan_block(exporter *x, const scope *parent, const prn_block *b,
                       const prn_attr *wanted);

static bool structure_ok(exporter *x, const prn_op *op) {
  for (uint32_t i = 0; i < op->num_blocks; i++) {
    const prn_op *last = op->blocks[i]->last;
    if (last && prn_op_is(last, PRN_OP_onnx_return)) continue;
    x->failed = true;
    (void)prn_op_error(op, "nested block %u does not end with onnx.return",
                       (unsigned)i);
    return false;
  }
  return true;
}

static void plan_block(exporter *x, const scope *parent, const prn_block *b,
                       const prn_attr *wanted) {
  scope s = {.parent = parent, .block = b};
  for (uint32_t i = 0; i < b->num_args; i++)
    name_value(x, &s, b->args[i]);
  PRN_EACH_OP(op, b)
    if (op->num_results && is_input(&op->results[0]))
      name_value(x, &s, &op->results[0]);
  name_outputs(x, &s, wanted);
  PRN_EACH_OP(op, b)
    for (uint32_t i = 0; i < op->num_results; i++)
      name_value(x, &s, &op->results[i]);
  PRN_EACH_OP(op, b) {
    if (op->opname->dialect_bit != PRN_DIALECT_ONNX) {
      x->failed = true;
      (void)prn_op_error(op, "it is no ONNX operator");
    }
    if (!op->num_blocks || !structure_ok(x, op)) continue;
    for (uint32_t i = 0; i < op->num_blocks; i++)
      plan_block(x, &s, op->blocks[i], NULL);
  }
  prn_ptrmap_destroy(&s.names);
}

void export_plan_names(exporter *x) {
  PRN_EACH_OP(op, x->module->body) {
    if (!prn_op_has_trait(op, PRN_TOP_LEVEL) ||
        op->opname->dialect_bit != PRN_DIALECT_ONNX || !op->num_blocks) {
      x->failed = true;
      (void)prn_op_error(op, "it is no ONNX graph or function");
    } else if (structure_ok(x, op)) {
      for (uint32_t i = 0; i < op->num_blocks; i++)
        plan_block(x, NULL, op->blocks[i],
                   i == 0 ? prn_op_attr(op, "outputs") : NULL);
    }
  }
}
