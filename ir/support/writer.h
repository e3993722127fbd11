/* Writing behind: what is put is copied, and a thread of its own hands it to
 * the kernel, so that making the next bytes and storing the last ones go on at
 * the same time. For long outputs. */
#ifndef PRN_IR_SUPPORT_WRITER_H
#define PRN_IR_SUPPORT_WRITER_H

#include "ir/support/base.h"

typedef struct prn_writer prn_writer;

/* Starts writing to fd, which stays the caller's; NULL when there is no thread
 * to be had. Signals are not delivered to it. */
prn_writer *prn_writer_start(int fd);
/* Appends size bytes. */
void prn_writer_put(prn_writer *w, const void *data, size_t size);
/* Waits until all is written and frees w; 0 or the first errno. */
int prn_writer_finish(prn_writer *w);
/* write(2) until all is written; 0 or errno. */
int prn_write_all(int fd, const char *data, size_t size);

#endif
