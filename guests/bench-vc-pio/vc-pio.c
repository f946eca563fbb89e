/* Port reads in a row: the line status of COM1, as every driver of it polls. */
#include "bench.h"
#include "cbit.h"
#include "cpu.h"

#define ROUND_TRIPS       400000
#define LINE_STATUS       5
#define TRANSMITTER_READY 0x20

const char bench_name[] = "vc-pio";
const uint32_t bench_checksum = ROUND_TRIPS;
const uint32_t bench_round_trips = ROUND_TRIPS;

uint32_t bench_work(void) {
  uint32_t ready = 0;
  for (uint32_t i = 0; i < ROUND_TRIPS; i++) ready += (in8(PORT_COM1 + LINE_STATUS) & TRANSMITTER_READY) != 0;
  return ready;
}
