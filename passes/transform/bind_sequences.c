/* bind-sequences: gives sequences and optionals among the inputs a length.
 *
 * A sequence x of 3 becomes the inputs x[0], x[1] and x[2], an optional that
 * is present the input x, and one that is absent no input at all. The graph
 * begins with what makes the sequence of them, so that nothing else changes;
 * resolve-sequences goes on from there. */
#include <string.h>

#include "passes/pass.h"
#include "passes/transform/build.h"

#define OPTIONS(X)                                                         \
  X(STRINGS, elements, REQUIRED, "",                                       \
    "What is in them: \"images=3\" for a sequence of 3, \"mask=none\" or " \
    "\"mask=some\" for an optional that is absent or present")
#define STATS(X) X(bound, "inputs that became tensors")
PRN_PASS_TABLES;

/* What a program may pass as arguments, and nobody misses. */
enum { MAX_ELEMENTS = 4096, NONE = -1, SOME = -2 };

typedef struct binding {
  prn_str text, name;
  int64_t count; /* or NONE, SOME */
  bool used;
} binding;

static prn_status parse(const prn_pass_env *env, prn_str text, binding *b) {
  const char *eq = memrchr(text.data, '=', text.size);
  prn_str value = {0};
  *b = (binding){.text = text};
  if (eq) {
    b->name = (prn_str){text.data, (size_t)(eq - text.data)};
    value = (prn_str){eq + 1, text.size - b->name.size - 1};
  }
  if (eq && prn_str_is(value, "none"))
    b->count = NONE;
  else if (eq && prn_str_is(value, "some"))
    b->count = SOME;
  else if (!prn_str_number(value, &b->count))
    return prn_pass_error(env,
                          "'%.*s' is not NAME=COUNT, NAME=none or "
                          "NAME=some",
                          PRN_STR_ARG(text));
  if (b->count > MAX_ELEMENTS)
    return prn_pass_error(env, "'%.*s': at most %d elements", PRN_STR_ARG(text),
                          (int)MAX_ELEMENTS);
  return PRN_OK;
}

/* Reports a binding that says what this type cannot be. */
static prn_status check(const prn_pass_env *env, const binding *b,
                        const prn_type *t) {
  const prn_type *held = t->kind == PRN_TYPE_OPTIONAL ? t->elem : t;
  const char *takes = NULL;
  bool sequence = held->kind == PRN_TYPE_SEQUENCE;
  if (b->count == NONE && t->kind != PRN_TYPE_OPTIONAL)
    takes = "a number of elements";
  else if (b->count != NONE && sequence && b->count < 0)
    takes = "a number of elements";
  else if (b->count >= 0 && !sequence)
    takes = "none or some";
  if (takes)
    return prn_pass_error(env, "'%.*s': the input is a %s, which takes %s",
                          PRN_STR_ARG(b->text), prn_type_str(env->ctx, t),
                          takes);
  held = sequence ? held->elem : held;
  if (held->kind == PRN_TYPE_TENSOR) return PRN_OK;
  return prn_pass_error(env,
                        "'%.*s': the input is a %s, which does not hold "
                        "tensors",
                        PRN_STR_ARG(b->text), prn_type_str(env->ctx, t));
}

/* The type of one element: a size that has a name may be another in each. */
static const prn_type *element_type(const prn_pass_env *env,
                                    const prn_type *t) {
  if (t->rank <= 0) return t;
  prn_dim *dims = PRN_ARENA_ARRAY(env->scratch, prn_dim, t->rank);
  for (int32_t i = 0; i < t->rank; i++)
    dims[i] = t->dims[i]->kind == PRN_DIM_CONST ? t->dims[i]
                                                : prn_dim_unknown(env->ctx);
  return prn_type_tensor(env->ctx, t->dtype, t->rank, dims);
}

static prn_value *make_sequence(const prn_pass_env *env, prn_op *at,
                                const prn_value *in, const prn_type *elem,
                                uint32_t n) {
  prn_block *b = at->block;
  prn_value **parts = PRN_ARENA_ARRAY(env->scratch, prn_value *, n + 1);
  for (uint32_t i = 0; i < n; i++) {
    prn_strbuf name = {0};
    prn_strbuf_fmt(&name, "%.*s[%u]", PRN_STR_ARG(in->name), (unsigned)i);
    parts[i] = prn_block_insert_arg(b, in->index, element_type(env, elem),
                                    prn_strbuf_view(&name));
    prn_strbuf_destroy(&name);
  }
  if (n) return prn_build_node(at, PRN_OP_onnx_SequenceConstruct, parts, n);
  prn_value *v = prn_build_node(at, PRN_OP_onnx_SequenceEmpty, NULL, 0);
  prn_op_set_attr(v->def, "dtype", prn_attr_int(env->ctx, elem->dtype));
  return v;
}

/* What stands for the input from here on. */
static prn_value *make_value(const prn_pass_env *env, prn_op *at,
                             const prn_value *in, int64_t count) {
  bool optional = in->type->kind == PRN_TYPE_OPTIONAL;
  const prn_type *held = optional ? in->type->elem : in->type;
  prn_value *v = NULL;
  if (count >= 0)
    v = make_sequence(env, at, in, held->elem, (uint32_t)count);
  else if (count == SOME)
    v = prn_block_insert_arg(at->block, in->index, held, in->name);
  if (!optional) return v;
  v = prn_build_node(at, PRN_OP_onnx_Optional, &v, v ? 1 : 0);
  if (!v->def->num_operands)
    prn_op_set_attr(v->def, "type", prn_attr_type(env->ctx, held));
  return v;
}

static prn_status bind_input(const prn_pass_env *env, prn_block *body,
                             prn_value *in, binding *b) {
  struct stats *s = env->stats;
  b->used = true;
  PRN_TRY(check(env, b, in->type));
  if (!body->first) return PRN_OK; /* a graph of nothing */
  prn_value *v = make_value(env, body->first, in, b->count);
  prn_value_replace_uses(in, v);
  prn_block_remove_arg(body, in->index);
  s->bound++;
  return PRN_OK;
}

static prn_status bind_graph(const prn_pass_env *env, prn_block *body,
                             binding *all, size_t n) {
  prn_status status = PRN_OK;
  for (uint32_t i = body->num_args; i-- > 0;)
    for (size_t k = 0; k < n; k++)
      if (prn_type_is_container(body->args[i]->type) &&
          prn_str_eq(body->args[i]->name, all[k].name)) {
        if (bind_input(env, body, body->args[i], &all[k]) != PRN_OK)
          status = PRN_FAIL;
        break;
      }
  return status;
}

static prn_status run(prn_pass_env *env, prn_module *m) {
  const struct opts *o = env->opts;
  prn_status status = PRN_OK;
  binding *all = PRN_ARENA_ARRAY(env->scratch, binding, o->elements.size + 1);
  for (size_t i = 0; i < o->elements.size; i++)
    if (parse(env, o->elements.at[i], &all[i]) != PRN_OK) status = PRN_FAIL;
  PRN_TRY(status);
  PRN_EACH_OP(top, m->body)
    if (prn_op_is(top, PRN_OP_onnx_graph) && prn_op_block(top, "body") &&
        bind_graph(env, prn_op_block(top, "body"), all, o->elements.size) !=
            PRN_OK)
      status = PRN_FAIL;
  for (size_t i = 0; i < o->elements.size; i++)
    if (!all[i].used)
      status = prn_pass_error(env,
                              "the model has no sequence or optional among its "
                              "inputs that '%.*s' could be",
                              PRN_STR_ARG(o->elements.at[i]));
  return status;
}

const prn_pass prn_pass_bind_sequences = {
    .name = "bind-sequences",
    .summary = "Give sequences and optionals among the inputs a length",
    .doc = "A sequence x of 3 becomes the inputs x[0], x[1] and x[2]; an "
           "optional becomes what it holds, or no input.",
    .reads = PRN_DIALECT_ONNX,
    .writes = PRN_DIALECT_ONNX,
    PRN_PASS_COMMON,
};
