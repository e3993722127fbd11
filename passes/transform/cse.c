/* cse: compute equal things once.
 *
 * Two operations are equal when they have the same name, operands, attributes
 * (node names and documentation aside) and result types, no effects and no
 * nested blocks. The later one goes; so do equal small onnx.Constant nodes.
 * Initializers stay apart: they have names that people know them by. An
 * operation in a nested block may use one before it in a block around it. */
#include <string.h>

#include "ir/rewrite.h"
#include "passes/pass.h"

/* Constants up to this many elements are compared by value. */
enum { SMALL = 64 };
/* Equal operations that may not be merged (both are outputs) pile up; looking
 * at only so many of them keeps the pass linear. */
enum { MAX_EQUAL = 16 };

#define OPTIONS(X)
#define STATS(X) X(merged, "operations replaced by an equal one")
PRN_PASS_TABLES;

typedef struct entry {
  uint64_t hash;
  prn_op *op;
  uint32_t older; /* index + 1 of the previous entry of the slot */
  uint32_t slot;
} entry;

typedef struct table {
  entry *entries;
  size_t size, cap;
  uint32_t *slots; /* index + 1 of the newest entry */
  size_t mask;
  struct stats *stats;
} table;

/* ---- equality ---- */

static bool is_label(prn_str name) {
  return prn_str_is(name, "$name") || prn_str_is(name, "$doc_string");
}

static bool tensor_is_small(const prn_tensor *t) {
  return t->data && !t->mask && !t->extra && prn_tensor_count(t) <= SMALL;
}

static uint64_t hash_attr(const prn_attr *a) {
  if (a->kind != PRN_ATTR_TENSOR || !tensor_is_small(a->tensor))
    return prn_attr_hash(a);
  return prn_hash_bytes(a->tensor->data->data, a->tensor->data->size, 3);
}

static bool equal_attr(const prn_attr *a, const prn_attr *b) {
  if (prn_attr_eq(a, b)) return true;
  if (a->kind != PRN_ATTR_TENSOR || b->kind != PRN_ATTR_TENSOR) return false;
  const prn_tensor *x = a->tensor, *y = b->tensor;
  return x->type == y->type && tensor_is_small(x) && tensor_is_small(y) &&
         x->data->size == y->data->size &&
         memcmp(x->data->data, y->data->data, x->data->size) == 0;
}

static bool mergeable(const prn_op *op) {
  if (prn_op_is(op, PRN_OP_onnx_Dropout) &&
      PRN_IN(op, onnx_Dropout, training_mode))
    return false; /* random while training */
  return prn_op_has_trait(op, PRN_PURE) && !prn_op_has_trait(op, PRN_RANDOM) &&
         op->num_blocks == 0 && op->num_results > 0 &&
         !prn_op_is(op, PRN_OP_onnx_initializer) &&
         !prn_op_is(op, PRN_OP_onnx_sparse_initializer);
}

static uint64_t hash_op(const prn_op *op) {
  uint64_t h = prn_hash_bytes(&op->opname, sizeof op->opname, op->num_results);
  for (uint32_t i = 0; i < op->num_operands; i++)
    h = prn_hash_bytes(&op->operands[i].value, sizeof(void *), h);
  uint64_t attrs = 0; /* a sum: the order of attributes does not matter */
  for (uint32_t i = 0; i < op->num_attrs; i++) {
    const prn_named_attr *a = &op->attrs[i];
    if (is_label(a->name)) continue;
    attrs += prn_hash_bytes(&a->name.data, sizeof(void *), hash_attr(a->value));
  }
  return h ^ attrs;
}

static const prn_attr *attr_named(const prn_op *op, prn_str name) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (op->attrs[i].name.data == name.data) return op->attrs[i].value;
  return NULL;
}

static bool attrs_within(const prn_op *a, const prn_op *b) {
  for (uint32_t i = 0; i < a->num_attrs; i++) {
    const prn_named_attr *x = &a->attrs[i];
    if (is_label(x->name)) continue;
    const prn_attr *y = attr_named(b, x->name);
    if (!y || !equal_attr(x->value, y)) return false;
  }
  return true;
}

static bool equal(const prn_op *a, const prn_op *b) {
  if (a->opname != b->opname || a->num_operands != b->num_operands ||
      a->num_results != b->num_results)
    return false;
  for (uint32_t i = 0; i < a->num_operands; i++)
    if (a->operands[i].value != b->operands[i].value) return false;
  for (uint32_t i = 0; i < a->num_results; i++)
    if (a->results[i].type != b->results[i].type) return false;
  return attrs_within(a, b) && attrs_within(b, a);
}

/* ---- the scoped table ---- */

static void rehash(table *t, size_t slots) {
  prn_free(t->slots);
  t->slots = prn_alloc(prn_array_size(sizeof *t->slots, slots));
  memset(t->slots, 0, slots * sizeof *t->slots);
  t->mask = slots - 1;
  for (size_t i = 0; i < t->size; i++) {
    entry *e = &t->entries[i];
    e->slot = (uint32_t)(e->hash & t->mask);
    e->older = t->slots[e->slot];
    t->slots[e->slot] = (uint32_t)i + 1;
  }
}

static void insert(table *t, uint64_t hash, prn_op *op) {
  if (t->size == t->cap) {
    t->cap = t->cap ? t->cap * 2 : 256;
    size_t bytes = prn_array_size(sizeof *t->entries, t->cap);
    t->entries = prn_realloc(t->entries, bytes);
    rehash(t, t->cap * 2);
  }
  uint32_t slot = (uint32_t)(hash & t->mask);
  t->entries[t->size] = (entry){hash, op, t->slots[slot], slot};
  t->slots[slot] = (uint32_t)++t->size;
}

/* Forgets what was inserted since the table had `size` entries. */
static void pop_to(table *t, size_t size) {
  while (t->size > size) {
    const entry *e = &t->entries[--t->size];
    t->slots[e->slot] = e->older;
  }
}

static bool replaceable(const prn_op *op, const prn_op *by) {
  for (uint32_t i = 0; i < op->num_results; i++)
    if (!prn_value_can_replace(&op->results[i], &by->results[i])) return false;
  return true;
}

static prn_op *find(const table *t, uint64_t hash, const prn_op *op) {
  if (!t->slots) return NULL;
  int equals = 0;
  for (uint32_t i = t->slots[hash & t->mask]; i && equals < MAX_EQUAL;
       i = t->entries[i - 1].older) {
    const entry *e = &t->entries[i - 1];
    if (e->hash != hash || !equal(e->op, op)) continue;
    if (replaceable(op, e->op)) return e->op;
    equals++;
  }
  return NULL;
}

static void visit_block(table *t, prn_block *b);

static void visit_nested(table *t, prn_op *op) {
  size_t size = t->size;
  for (uint32_t i = 0; i < op->num_blocks; i++) {
    visit_block(t, op->blocks[i]);
    pop_to(t, size);
  }
}

static void visit_block(table *t, prn_block *b) {
  PRN_EACH_OP_SAFE(op, b) {
    visit_nested(t, op);
    if (!mergeable(op)) continue;
    uint64_t hash = hash_op(op);
    prn_op *same = find(t, hash, op);
    if (!same) {
      insert(t, hash, op);
      continue;
    }
    for (uint32_t i = 0; i < op->num_results; i++)
      prn_value_replace(&op->results[i], &same->results[i]);
    prn_op_erase(op);
    t->stats->merged++;
  }
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  table t = {.stats = env->stats};
  visit_block(&t, m->body);
  prn_free(t.entries);
  prn_free(t.slots);
  return PRN_OK;
}

const prn_pass prn_pass_cse = {
    .name = "cse",
    .summary = "Compute equal things once",
    .reads = PRN_ANY_DIALECT,
    .writes = PRN_ANY_DIALECT,
    .keeps = PRN_SHAPES,
    .exact = true,
    PRN_PASS_COMMON,
};
