/*
 * What a guest found out, a line each: `PASS: what` or `FAIL: what`. The run's exit status is 0 if nothing failed.
 */
#pragma once

#include <stdbool.h>

void report(bool pass, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Prints the summary and ends the guest through the test device. start.c calls it when main() returns. */
_Noreturn void report_end(void);

/* Ends the guest at once. */
_Noreturn void end_guest(unsigned status);
