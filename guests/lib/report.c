/* PASS and FAIL lines, and the test device at the end. */
#include "report.h"

#include <stdarg.h>

#include "cbit.h"
#include "cpu.h"
#include "print.h"

static unsigned tests, failures;

void report(bool pass, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  print(pass ? "PASS: " : "FAIL: ");
  print_arguments(format, arguments);
  print("\n");
  va_end(arguments);
  tests++;
  if (!pass) failures++;
}

void end_guest(unsigned status) {
  out32(PORT_TEST_DEVICE, status);
  halt_for_good();
}

void report_end(void) {
  print("SUMMARY: %u tests, %u failed\n", tests, failures);
  end_guest(failures != 0);
}
