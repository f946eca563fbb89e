/*
 * Some 200 million instructions of compiled integer code, for `npm run bench`. The marks are writes to a port that nobody
 * claims: whoever measures counts the instructions, and the time, between the two.
 */
#include "cpu.h"
#include "mix.h"
#include "print.h"
#include "report.h"

#define MARK_PORT  0xe0
#define MARK_BEGIN 1
#define MARK_END   2

void main(void) {
  out32(MARK_PORT, MARK_BEGIN);
  uint32_t checksum = mix(MIX_ROUNDS);
  out32(MARK_PORT, MARK_END);
  print("checksum 0x%08x after %u rounds\n", checksum, MIX_ROUNDS);
  report(checksum == MIX_CHECKSUM, "the checksum is the one that other machines get");
}
