/*
 * port-sign: extends the port in an IN or OUT of a byte by its sign.
 *
 * Published: no case by name. Decoders keep an immediate as a signed number, which most instructions want; the port of IN and OUT is the one byte
 * without a sign (APM vol. 3, IN). Ports from 80h on become FF80h and more: the POST code, the second interrupt controller and the keyboard's
 * neighbours go nowhere, and a read gives FFh.
 *
 * Watch ioio_word().
 *
 *   cbit run guests/bugs/port-sign --sanitize
 */
#include "steps.h"

uint64_t ioio_word(const struct io *io, const struct insn *insn) {
  bool fixed = insn->opcode == 0xe4 || insn->opcode == 0xe6;
  uint16_t port = fixed ? insn->immediate : io->port; /* the bug: (uint8_t) */
  uint64_t word = (uint64_t)port << IOIO_PORT_SHIFT | io->size * IOIO_SIZE_8 | IOIO_ADDRESS_64;
  return io->in ? word | IOIO_IN : word; /* of strings nothing is served here */
}

void main(void) {
  uint8_t al = 0x42;
  asm volatile("out %%al, %1" : : "a"(al), "N"(PORT_ECHO_PORTS));
  asm volatile("in %1, %%al" : "=a"(al) : "N"(PORT_ECHO_PORTS));
  print("port %02x: %02x\n", PORT_ECHO_PORTS, al);
  report(true, "a port in the instruction is served");
}
