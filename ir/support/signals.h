/* Signals by which users end a tool (SIGINT, SIGTERM, SIGHUP), and times at
 * which they wait because something would be left behind. */
#ifndef PRN_IR_SUPPORT_SIGNALS_H
#define PRN_IR_SUPPORT_SIGNALS_H

#include <signal.h>

/* These signals. */
sigset_t prn_ending_signals(void);
/* Has them wait, in this thread. Returns the signals that waited before, for
 * prn_release_signals, which lets the others come. */
sigset_t prn_hold_signals(void);
void prn_release_signals(const sigset_t *before);

#endif
