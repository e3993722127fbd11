#include "passes/columns.h"

#include <string.h>

const char *prn_cell(const prn_pass_env *env, prn_strbuf *b) {
  const char *text = prn_intern(env->ctx, prn_strbuf_view(b)).data;
  prn_strbuf_destroy(b);
  return text;
}

const char *prn_cell_shape(const prn_pass_env *env, const prn_type *type) {
  prn_strbuf b = {0};
  for (int32_t i = 0; i < type->rank; i++) {
    if (i) prn_strbuf_char(&b, 'x');
    prn_dim_print(&b, type->dims[i]);
  }
  if (type->rank == 0) prn_strbuf_cstr(&b, "scalar");
  return prn_cell(env, &b);
}

void prn_columns_print(const prn_pass_env *env, const char *const *cells,
                       size_t rows, size_t columns, uint32_t right) {
  size_t *width = PRN_ARENA_ARRAY(env->scratch, size_t, columns);
  for (size_t i = 0; i < rows * columns; i++) {
    size_t w = strlen(cells[i]);
    if (w > width[i % columns]) width[i % columns] = w;
  }
  for (size_t r = 0; r < rows; r++) {
    prn_strbuf b = {0};
    for (size_t c = 0; c < columns; c++)
      prn_strbuf_fmt(&b, right >> c & 1 ? "%*s  " : "%-*s  ", (int)width[c],
                     cells[r * columns + c]);
    while (b.size && b.data[b.size - 1] == ' ')
      b.size--;
    prn_pass_print(env, "%.*s\n", PRN_STR_ARG(prn_strbuf_view(&b)));
    prn_strbuf_destroy(&b);
  }
}
