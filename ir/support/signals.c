#include "ir/support/signals.h"

sigset_t prn_ending_signals(void) {
  sigset_t s;
  (void)sigemptyset(&s);
  (void)sigaddset(&s, SIGINT);
  (void)sigaddset(&s, SIGTERM);
  (void)sigaddset(&s, SIGHUP);
  return s;
}

sigset_t prn_hold_signals(void) {
  const sigset_t ending = prn_ending_signals();
  sigset_t before;
  (void)pthread_sigmask(SIG_BLOCK, &ending, &before);
  return before;
}

void prn_release_signals(const sigset_t *before) {
  (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}
