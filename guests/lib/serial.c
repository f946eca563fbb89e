/* The 16550's registers by the names of its data sheet. */
#include "serial.h"

#include "cpu.h"

enum {
  DATA = COM1,
  INTERRUPT_ENABLE = COM1 + 1,
  FIFO_CONTROL = COM1 + 2,
  LINE_CONTROL = COM1 + 3,
  MODEM_CONTROL = COM1 + 4,
  LINE_STATUS = COM1 + 5,
  DIVISOR_LOW = COM1,
  DIVISOR_HIGH = COM1 + 1,
};

#define LINE_8N1           0x03
#define LINE_DIVISOR       0x80
#define FIFO_ENABLE_CLEAR  0x07
#define MODEM_DTR_RTS      0x03
#define TRANSMITTER_READY  0x20
#define FIFO_SIZE          16

static bool ready;

void serial_load(void) {
  out8(INTERRUPT_ENABLE, 0);
  out8(LINE_CONTROL, LINE_8N1 | LINE_DIVISOR);
  out8(DIVISOR_LOW, 1); /* 115200 baud */
  out8(DIVISOR_HIGH, 0);
  out8(LINE_CONTROL, LINE_8N1);
  out8(FIFO_CONTROL, FIFO_ENABLE_CLEAR);
  out8(MODEM_CONTROL, MODEM_DTR_RTS);
  ready = true;
}

bool serial_is_ready(void) {
  return ready;
}

void serial_write(const char *text, size_t length) {
  while (length > 0) {
    while (!(in8(LINE_STATUS) & TRANSMITTER_READY)) continue;
    /* An empty transmitter takes a whole FIFO: one look at the status for 16 bytes. Each port access is a #VC under SEV-ES. */
    size_t burst = length < FIFO_SIZE ? length : FIFO_SIZE;
    for (size_t i = 0; i < burst; i++) out8(DATA, text[i]);
    text += burst;
    length -= burst;
  }
}
