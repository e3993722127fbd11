/* docs/operators.md: what is done with each operator of ONNX, from the tables
 * that do it. */
#include "ir/op_info.h"
#include "passes/lower/lower.h"
#include "passes/lower/onnx_to_nn.h"

static const char intro[] =
    "<!-- Made by test/lint/docs.py from prune-opt --emit-docs=operators and "
    "test/onnx_nodes.cases. -->\n"
    "# What is done with ONNX operators\n\n"
    "Any operator, known or not, is imported and exported as it is. *since* is "
    "the operator set from which on it is known, *shapes* whether its result "
    "types are inferred. *prune* says what it does to channels that are "
    "removed: **ties** those of operands and results as its sizes say "
    "(`docs/ops.md`), or as code says where it depends on more than sizes; "
    "**barrier**: nothing that it touches is removed. *compile* says whether "
    "it is lowered to the compiler's operators; operands after **needs** are "
    "read when compiling, as they decide sizes or code: constants, or what "
    "prune-run is given. *node cases* are those of onnx's backend tests that "
    "hold the operator, as `test/onnx_nodes.py` compiles and runs them: how "
    "many pass of how many. What does not pass stands with its reason in "
    "`test/onnx_nodes.expect`.\n";

static const char *prune_text(const char *dims) {
  prn_str s = prn_str_from(dims);
  if (prn_str_is(s, "opaque")) return "barrier";
  return prn_str_is(s, "hook") ? "ties (code)" : "ties";
}

/* Operands that are read as contents, by their names. */
static void print_needs(const prn_op_info *info, const prn_o2n_row *row,
                        prn_strbuf *b) {
  const prn_slot_info *s = info->in;
  const char *before = " (needs ";
  for (uint32_t i = 0; i < 32 && s && s[i].kind != PRN_SLOT_END; i++) {
    if (!(row->shape >> i & 1)) continue;
    prn_strbuf_fmt(b, "%s%s", before, s[i].name);
    before = ", ";
  }
  if (row->shape) prn_strbuf_cstr(b, ")");
}

static void print_row(const prn_op_info *info, const prn_map *rows,
                      prn_strbuf *b) {
  prn_strbuf key = {0};
  prn_str domain = prn_str_from(info->dialect);
  if (!prn_str_is(domain, "onnx")) prn_strbuf_fmt(&key, "%s:", info->dialect);
  prn_strbuf_cstr(&key, info->name);
  const prn_o2n_row *row = prn_map_get(rows, prn_strbuf_view(&key));
  bool compiled = row || (info->traits & PRN_CONSTANT) ||
                  prn_o2n_decomposes((prn_opcode)(info - prn_op_infos));
  prn_strbuf_fmt(b, "| `%s` | %d | %s | %s | %s", info->name,
                 info->since ? (int)info->since : 1, info->infer ? "yes" : "no",
                 prune_text(info->dims), compiled ? "yes" : "no");
  if (row && row->fn) print_needs(info, row, b);
  prn_strbuf_cstr(b, " |\n");
  prn_strbuf_destroy(&key);
}

/* Structure, not operators, begins with a small letter. */
static bool is_operator(const prn_op_info *info) {
  return info->name && info->dialect_bit == PRN_DIALECT_ONNX &&
         info->name[0] >= 'A' && info->name[0] <= 'Z';
}

void prn_operators_docs(prn_strbuf *b) {
  prn_map rows = {0};
  const char *domain = "";
  prn_o2n_fill(&rows);
  prn_strbuf_cstr(b, intro);
  for (int i = 0; i < PRN_OP_count; i++) {
    const prn_op_info *info = &prn_op_infos[i];
    if (!is_operator(info)) continue;
    if (!prn_str_is(prn_str_from(domain), info->dialect)) {
      domain = info->dialect;
      prn_strbuf_fmt(b,
                     "\n## %s\n\n"
                     "| operator | since | shapes | prune | compile |\n"
                     "|---|---|---|---|---|\n",
                     prn_str_is(prn_str_from(domain), "onnx") ? "ai.onnx"
                                                              : domain);
    }
    print_row(info, &rows, b);
  }
  prn_map_destroy(&rows);
}
