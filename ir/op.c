/* Operations: building, operands, attributes. Walking, cloning and messages
 * are in ir/op_walk.c. */
#include "ir/op.h"

#include <assert.h>
#include <string.h>

/* ---- names ---- */

static bool same_opname(const void *stored, const void *key) {
  const prn_opname *a = stored, *b = key;
  return a->dialect.data == b->dialect.data && a->name.data == b->name.data;
}

static const void *make_opname(prn_ctx *ctx, const void *key) {
  prn_opname *n = prn_arena_copy(prn_ctx_arena(ctx), key, sizeof *n);
  n->info = prn_op_info_find(n->dialect, n->name);
  n->code = prn_op_info_code(n->info);
  n->dialect_bit = prn_dialect_of(n->dialect);
  return n;
}

const prn_opname *prn_opname_get(prn_ctx *ctx, prn_str dialect, prn_str name) {
  prn_opname key = {.dialect = prn_intern(ctx, dialect),
                    .name = prn_intern(ctx, name)};
  const char *ptrs[2] = {key.dialect.data, key.name.data};
  return prn_ctx_unique(ctx, prn_hash_bytes(ptrs, sizeof ptrs, 23), &key,
                        same_opname, make_opname);
}

const prn_opname *prn_opname_code(prn_ctx *ctx, prn_opcode code) {
  const prn_op_info *info = &prn_op_infos[code];
  return prn_opname_get(ctx, prn_str_from(info->dialect),
                        prn_str_from(info->name));
}

bool prn_op_has_trait(const prn_op *op, uint32_t traits) {
  return op->opname->info && (op->opname->info->traits & traits) == traits;
}

/* ---- building ---- */

static void link_use(prn_use *u, prn_value *v) {
  u->value = v;
  u->next = NULL;
  u->prev = NULL;
  if (!v) return;
  u->next = v->uses;
  u->prev = &v->uses;
  if (v->uses) v->uses->prev = &u->next;
  v->uses = u;
}

static void unlink_use(prn_use *u) {
  if (!u->value) return;
  *u->prev = u->next;
  if (u->next) u->next->prev = u->prev;
  u->value = NULL;
}

prn_op *prn_op_create(prn_module *m, const prn_opname *name, prn_loc loc,
                      prn_value *const *operands, uint32_t num_operands,
                      const prn_type *const *result_types,
                      uint32_t num_results) {
  prn_op *op = PRN_ARENA_NEW(&m->arena, prn_op);
  op->opname = name;
  op->loc = loc;
  op->module = m;
  op->num_operands = op->cap_operands = num_operands;
  op->operands = PRN_ARENA_ARRAY(&m->arena, prn_use, num_operands);
  for (uint32_t i = 0; i < num_operands; i++) {
    op->operands[i].owner = op;
    link_use(&op->operands[i], operands[i]);
  }
  op->num_results = num_results;
  op->results = PRN_ARENA_ARRAY(&m->arena, prn_value, num_results);
  for (uint32_t i = 0; i < num_results; i++)
    op->results[i] = (prn_value){
        .type = result_types[i], .name = {"", 0}, .def = op, .index = i};
  return op;
}

prn_block *prn_block_create(prn_module *m) {
  prn_block *b = PRN_ARENA_NEW(&m->arena, prn_block);
  b->module = m;
  return b;
}

void prn_op_add_block(prn_op *op, prn_block *block) {
  if (op->num_blocks == op->cap_blocks) {
    uint32_t cap = op->cap_blocks ? op->cap_blocks * 2 : 2;
    prn_block **grown = PRN_ARENA_ARRAY(&op->module->arena, prn_block *, cap);
    if (op->num_blocks)
      memcpy(grown, op->blocks, op->num_blocks * sizeof *grown);
    op->blocks = grown;
    op->cap_blocks = cap;
  }
  op->blocks[op->num_blocks++] = block;
  block->parent = op;
}

prn_value *prn_block_add_arg(prn_block *b, const prn_type *type, prn_str name) {
  if (b->num_args == b->cap_args) {
    uint32_t cap = b->cap_args ? b->cap_args * 2 : 4;
    prn_value **grown = PRN_ARENA_ARRAY(&b->module->arena, prn_value *, cap);
    if (b->num_args) memcpy(grown, b->args, b->num_args * sizeof *grown);
    b->args = grown;
    b->cap_args = cap;
  }
  prn_value *v = PRN_ARENA_NEW(&b->module->arena, prn_value);
  *v = (prn_value){.type = type,
                   .name = prn_intern(b->module->ctx, name),
                   .block = b,
                   .index = b->num_args};
  b->args[b->num_args++] = v;
  return v;
}

prn_value *prn_block_insert_arg(prn_block *b, uint32_t i, const prn_type *type,
                                prn_str name) {
  prn_value *v = prn_block_add_arg(b, type, name);
  assert(i < b->num_args);
  for (uint32_t k = b->num_args - 1; k > i; k--) {
    b->args[k] = b->args[k - 1];
    b->args[k]->index = k;
  }
  b->args[i] = v;
  v->index = i;
  return v;
}

void prn_block_remove_arg(prn_block *b, uint32_t i) {
  assert(i < b->num_args && !b->args[i]->uses);
  for (uint32_t k = i + 1; k < b->num_args; k++) {
    b->args[k - 1] = b->args[k];
    b->args[k - 1]->index = k - 1;
  }
  b->num_args--;
}

static void set_block(prn_op *op, prn_block *b) {
  op->block = b;
  for (uint32_t i = 0; i < op->num_results; i++)
    op->results[i].block = b;
}

void prn_block_append(prn_block *b, prn_op *op) {
  assert(!op->block);
  set_block(op, b);
  op->prev = b->last;
  op->next = NULL;
  op->order = b->last ? b->last->order + 1 : 0;
  if (!b->last) b->order_valid = true;
  if (b->last)
    b->last->next = op;
  else
    b->first = op;
  b->last = op;
}

void prn_op_insert_before(prn_op *op, prn_op *before) {
  prn_block *b = before->block;
  assert(!op->block && b);
  set_block(op, b);
  op->next = before;
  op->prev = before->prev;
  if (before->prev)
    before->prev->next = op;
  else
    b->first = op;
  before->prev = op;
  b->order_valid = false;
}

void prn_op_insert_after(prn_op *op, prn_op *after) {
  if (after->next)
    prn_op_insert_before(op, after->next);
  else
    prn_block_append(after->block, op);
}

void prn_op_unlink(prn_op *op) {
  prn_block *b = op->block;
  if (!b) return;
  if (op->prev)
    op->prev->next = op->next;
  else
    b->first = op->next;
  if (op->next)
    op->next->prev = op->prev;
  else
    b->last = op->prev;
  op->prev = op->next = NULL;
  set_block(op, NULL);
}

static void drop_block(prn_block *b) {
  PRN_EACH_OP(op, b) {
    for (uint32_t i = 0; i < op->num_operands; i++)
      unlink_use(&op->operands[i]);
    for (uint32_t i = 0; i < op->num_blocks; i++)
      drop_block(op->blocks[i]);
  }
}

void prn_op_erase(prn_op *op) {
  for (uint32_t i = 0; i < op->num_results; i++)
    assert(!op->results[i].uses);
  for (uint32_t i = 0; i < op->num_operands; i++)
    unlink_use(&op->operands[i]);
  for (uint32_t i = 0; i < op->num_blocks; i++)
    drop_block(op->blocks[i]);
  prn_op_unlink(op);
}

/* ---- operands ---- */

prn_value *prn_op_operand(const prn_op *op, uint32_t i) {
  return i < op->num_operands ? op->operands[i].value : NULL;
}

void prn_op_set_operand(prn_op *op, uint32_t i, prn_value *v) {
  assert(i < op->num_operands);
  unlink_use(&op->operands[i]);
  link_use(&op->operands[i], v);
}

void prn_op_add_operand(prn_op *op, prn_value *v) {
  if (op->num_operands == op->cap_operands) {
    uint32_t cap = op->cap_operands ? op->cap_operands * 2 : 4;
    prn_use *grown = PRN_ARENA_ARRAY(&op->module->arena, prn_use, cap);
    for (uint32_t i = 0; i < op->num_operands; i++) {
      prn_value *old = op->operands[i].value;
      unlink_use(&op->operands[i]);
      grown[i].owner = op;
      link_use(&grown[i], old);
    }
    op->operands = grown;
    op->cap_operands = cap;
  }
  prn_use *u = &op->operands[op->num_operands++];
  u->owner = op;
  link_use(u, v);
}

void prn_op_truncate_operands(prn_op *op, uint32_t n) {
  for (uint32_t i = n; i < op->num_operands; i++)
    unlink_use(&op->operands[i]);
  if (n < op->num_operands) op->num_operands = n;
}

void prn_value_replace_uses(prn_value *from, prn_value *to) {
  assert(from != to);
  while (from->uses) {
    prn_use *u = from->uses;
    unlink_use(u);
    link_use(u, to);
  }
}

bool prn_value_has_one_use(const prn_value *v) {
  return v->uses && !v->uses->next;
}

uint32_t prn_use_index(const prn_use *u) {
  return (uint32_t)(u - u->owner->operands);
}

/* ---- attributes ---- */

static prn_named_attr *find_attr(const prn_op *op, const char *name) {
  for (uint32_t i = 0; i < op->num_attrs; i++)
    if (prn_str_is(op->attrs[i].name, name)) return &op->attrs[i];
  return NULL;
}

const prn_attr *prn_op_attr(const prn_op *op, const char *name) {
  const prn_named_attr *a = find_attr(op, name);
  return a ? a->value : NULL;
}

static void remove_attr(prn_op *op, prn_named_attr *a) {
  size_t after = (size_t)(op->attrs + op->num_attrs - (a + 1));
  memmove(a, a + 1, after * sizeof *a);
  op->num_attrs--;
}

void prn_op_set_attr(prn_op *op, const char *name, const prn_attr *value) {
  prn_named_attr *a = find_attr(op, name);
  if (!value) {
    if (a) remove_attr(op, a);
    return;
  }
  if (a) {
    a->value = value;
    return;
  }
  if (op->num_attrs == op->cap_attrs) {
    uint32_t cap = op->cap_attrs ? op->cap_attrs * 2 : 4;
    prn_named_attr *grown =
        PRN_ARENA_ARRAY(&op->module->arena, prn_named_attr, cap);
    if (op->num_attrs) memcpy(grown, op->attrs, op->num_attrs * sizeof *grown);
    op->attrs = grown;
    op->cap_attrs = cap;
  }
  op->attrs[op->num_attrs++] =
      (prn_named_attr){prn_intern_cstr(op->module->ctx, name), value};
}

int64_t prn_op_int(const prn_op *op, const char *name, int64_t dflt) {
  const prn_attr *a = prn_op_attr(op, name);
  bool ok = a && (a->kind == PRN_ATTR_INT || a->kind == PRN_ATTR_BOOL);
  return ok ? a->i : dflt;
}

float prn_op_float(const prn_op *op, const char *name, float dflt) {
  const prn_attr *a = prn_op_attr(op, name);
  return a && a->kind == PRN_ATTR_FLOAT ? a->f : dflt;
}

prn_str prn_op_string(const prn_op *op, const char *name, const char *dflt) {
  const prn_attr *a = prn_op_attr(op, name);
  bool ok = a && (a->kind == PRN_ATTR_STRING || a->kind == PRN_ATTR_SYMBOL);
  return ok ? a->s : prn_str_from(dflt);
}

const int64_t *prn_op_ints(const prn_op *op, const char *name, size_t *n) {
  const prn_attr *a = prn_op_attr(op, name);
  bool ok = a && a->kind == PRN_ATTR_INTS;
  *n = ok ? a->size : 0;
  return ok ? a->ints : NULL;
}

prn_block *prn_op_block(const prn_op *op, const char *name) {
  const prn_attr *a = prn_op_attr(op, name);
  if (!a || a->kind != PRN_ATTR_REGION || a->i < 0 ||
      a->i >= (int64_t)op->num_blocks)
    return NULL;
  return op->blocks[a->i];
}

const prn_tensor *prn_value_constant(const prn_value *v) {
  if (!v || !v->def || !prn_op_has_trait(v->def, PRN_CONSTANT)) return NULL;
  const prn_attr *a = prn_op_attr(v->def, "value");
  return a && a->kind == PRN_ATTR_TENSOR ? a->tensor : NULL;
}
