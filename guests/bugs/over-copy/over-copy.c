/*
 * over-copy: copies a whole buffer for OUTS, not the elements that were asked for.
 *
 * Published: the shape of Heartbleed (CVE-2014-0160): the length of the buffer instead of the length of the message. The shared buffer of a GHCB
 * has 2032 bytes, so a "REP OUTSB" of five shows the hypervisor 2027 bytes that lie behind them.
 *
 * Watch copy_elements(). What goes to the port is right. The key lies behind the message.
 *
 *   cbit run guests/bugs/over-copy --taint
 */
#include "steps.h"

static struct {
  char text[16];
  uint64_t key;
  char rest[GHCB_BUFFER_SIZE];
} letter = {.text = "hello"};

void copy_elements(struct vc *vc, const struct io *io, const struct run *run) {
  char *buffer = ghcb_buffer(vc->ghcb);
  void *first = (void *)address_of(vc, run, 0);
  if (io->in) memcpy(first, buffer, run->count * io->size);
  else memcpy(buffer, first, GHCB_BUFFER_SIZE); /* the bug: run->count * io->size */
}

void main(void) {
  const void *from = letter.text;
  uint64_t count = 5;
  letter.key = work_key();
  asm volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(PORT_ECHO_PORTS) : "memory");
  report((const char *)from == letter.text + 5, "REP OUTSB sends five bytes");
}
