/* Text in columns, for passes that print tables. */
#ifndef PRN_PASSES_COLUMNS_H
#define PRN_PASSES_COLUMNS_H

#include "passes/pass.h"

/* Prints rows of cells, row by row, each column as wide as its widest cell.
 * Bit c of `right`: column c stands to the right, as numbers do. */
void prn_columns_print(const prn_pass_env *env, const char *const *cells,
                       size_t rows, size_t columns, uint32_t right);

/* The text, which is then interned and lives as long as the context; the
 * buffer is destroyed. */
const char *prn_cell(const prn_pass_env *env, prn_strbuf *b);
/* "2x3", or "scalar". */
const char *prn_cell_shape(const prn_pass_env *env, const prn_type *type);

#endif
