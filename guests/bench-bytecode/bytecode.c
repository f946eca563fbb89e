/*
 * An interpreter of a stack machine's byte code, one indirect branch an operation, as scripting languages have. The program
 * counts primes with a sieve and mixes what it finds.
 */
#include "bench.h"

const char bench_name[] = "bytecode";
const uint32_t bench_checksum = 0xd0057309;

enum operation { PUSH, LOAD, STORE, LOAD_AT, STORE_AT, ADD, MULTIPLY, XOR, SHIFT_RIGHT, LESS, JUMP, JUMP_IF_NOT, END };

#define SIEVE  8192
#define ROUNDS 110
/* Variables. */
enum { I, J, SUM, ROUND };

/* Jump targets are indices of this program. */
static const int32_t program[] = {
  /*   0 */ PUSH, 0, STORE, ROUND,
  /*   4 */ LOAD, ROUND, PUSH, ROUNDS, LESS, JUMP_IF_NOT, 112,
  /*  11 */ PUSH, 2, STORE, I,
  /*  15 */ LOAD, I, PUSH, SIEVE, LESS, JUMP_IF_NOT, 34,
  /*  22 */ PUSH, 1, LOAD, I, STORE_AT,
  /*  27 */ LOAD, I, PUSH, 1, ADD, JUMP, 13,
  /*  34 */ PUSH, 2, STORE, I,
  /*  38 */ LOAD, I, PUSH, SIEVE, LESS, JUMP_IF_NOT, 103,
  /*  45 */ LOAD, I, LOAD_AT, JUMP_IF_NOT, 96,
  /*  50 */ LOAD, SUM, PUSH, 31, MULTIPLY, LOAD, I, ADD, LOAD, SUM, PUSH, 7, SHIFT_RIGHT, XOR, STORE, SUM,
  /*  66 */ LOAD, I, LOAD, I, ADD, STORE, J,
  /*  73 */ LOAD, J, PUSH, SIEVE, LESS, JUMP_IF_NOT, 96,
  /*  80 */ PUSH, 0, LOAD, J, STORE_AT,
  /*  85 */ LOAD, J, LOAD, I, ADD, STORE, J,
  /*  92 */ JUMP, 73, END, END,
  /*  96 */ LOAD, I, PUSH, 1, ADD, JUMP, 36,
  /* 103 */ LOAD, ROUND, PUSH, 1, ADD, STORE, ROUND, JUMP, 4,
  /* 112 */ END,
};

static uint32_t run(void) {
  static int32_t variables[4];
  static uint8_t flags[SIEVE];
  int32_t stack[16], *top = stack;
  variables[SUM] = 1;
  for (const int32_t *at = program;;) switch ((enum operation)*at++) {
      case PUSH: *top++ = *at++; break;
      case LOAD: *top++ = variables[*at++]; break;
      case STORE: variables[*at++] = *--top; break;
      case LOAD_AT: top[-1] = flags[top[-1]]; break;
      case STORE_AT: top -= 2, flags[top[1]] = (uint8_t)top[0]; break;
      case ADD: top--, top[-1] += top[0]; break;
      case MULTIPLY: top--, top[-1] = (int32_t)((uint32_t)top[-1] * (uint32_t)top[0]); break;
      case XOR: top--, top[-1] ^= top[0]; break;
      case SHIFT_RIGHT: top--, top[-1] = (int32_t)((uint32_t)top[-1] >> (top[0] & 31)); break;
      case LESS: top--, top[-1] = top[-1] < top[0]; break;
      case JUMP: at = program + *at; break;
      case JUMP_IF_NOT: at = *--top ? at + 1 : program + *at; break;
      case END: return (uint32_t)variables[SUM];
    }
}

uint32_t bench_work(void) {
  return run();
}
