/*
 * An integer mix with loads and stores, of the kinds that CoreMark chose: a linked list that is sorted and searched, a matrix
 * product, a state machine that reads numbers, and a CRC over all of it. Freestanding, deterministic, and the same C compiled
 * for the guest and for the machine at hand.
 */
#include "mix.h"

#define LIST_LENGTH 96
#define MATRIX_SIZE 16
#define TEXT_LENGTH 512

static uint32_t random_state;

/* xorshift32 (Marsaglia 2003). */
static uint32_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 17;
  random_state ^= random_state << 5;
  return random_state;
}

/* CRC-32C, bit by bit over a half byte at a time: a table of 16 entries. */
static uint32_t crc_table[16];

static void make_crc_table(void) {
  for (uint32_t i = 0; i < 16; i++) {
    uint32_t crc = i;
    for (int bit = 0; bit < 4; bit++) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    crc_table[i] = crc;
  }
}

static uint32_t crc_word(uint32_t crc, uint32_t word) {
  for (int i = 0; i < 8; i++, word >>= 4) crc = crc >> 4 ^ crc_table[(crc ^ word) & 15];
  return crc;
}

struct node {
  struct node *next;
  int32_t key;
  uint16_t tag;
};

static struct node nodes[LIST_LENGTH];

static struct node *make_list(void) {
  for (int i = 0; i < LIST_LENGTH; i++) {
    nodes[i].next = i + 1 < LIST_LENGTH ? &nodes[i + 1] : 0;
    nodes[i].key = (int32_t)(next_random() % 1000) - 500;
    nodes[i].tag = (uint16_t)i;
  }
  return nodes;
}

static struct node *merge(struct node *a, struct node *b) {
  struct node *head = 0, **end = &head;
  while (a && b) {
    struct node **smaller = a->key <= b->key ? &a : &b;
    *end = *smaller;
    end = &(*smaller)->next;
    *smaller = *end;
  }
  *end = a ? a : b;
  return head;
}

static struct node *sort(struct node *list) {
  if (!list || !list->next) return list;
  struct node *slow = list, *fast = list->next;
  while (fast && fast->next) slow = slow->next, fast = fast->next->next;
  struct node *second = slow->next;
  slow->next = 0;
  return merge(sort(list), sort(second));
}

static uint32_t work_on_list(uint32_t crc) {
  struct node *list = sort(make_list());
  for (const struct node *node = list; node; node = node->next) crc = crc_word(crc, (uint32_t)node->key << 16 | node->tag);
  for (int i = 0; i < 8; i++) {
    int32_t wanted = (int32_t)(next_random() % 1000) - 500;
    const struct node *node = list;
    while (node && node->key < wanted) node = node->next;
    crc = crc_word(crc, node ? node->tag : 0xffff);
  }
  return crc;
}

static int16_t left[MATRIX_SIZE][MATRIX_SIZE], right[MATRIX_SIZE][MATRIX_SIZE];
static int32_t product[MATRIX_SIZE][MATRIX_SIZE];

static uint32_t work_on_matrix(uint32_t crc) {
  for (int i = 0; i < MATRIX_SIZE; i++)
    for (int j = 0; j < MATRIX_SIZE; j++) left[i][j] = (int16_t)next_random(), right[i][j] = (int16_t)next_random();

  for (int i = 0; i < MATRIX_SIZE; i++)
    for (int j = 0; j < MATRIX_SIZE; j++) {
      uint32_t sum = 0; /* unsigned: it may wrap */
      for (int k = 0; k < MATRIX_SIZE; k++) sum += (uint32_t)(left[i][k] * right[k][j]);
      product[i][j] = (int32_t)sum;
    }

  for (int i = 0; i < MATRIX_SIZE; i++) crc = crc_word(crc, (uint32_t)product[i][(i * 7) % MATRIX_SIZE]);
  return crc;
}

enum state { START, SIGN, INTEGER, FRACTION, EXPONENT, INVALID, STATES };

static enum state next_state(enum state state, char c) {
  int digit = c >= '0' && c <= '9';
  switch (state) {
    case START:
      return digit ? INTEGER : c == '+' || c == '-' ? SIGN : c == '.' ? FRACTION : INVALID;
    case SIGN:
      return digit ? INTEGER : c == '.' ? FRACTION : INVALID;
    case INTEGER:
      return digit ? INTEGER : c == '.' ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case FRACTION:
      return digit ? FRACTION : c == 'e' ? EXPONENT : INVALID;
    case EXPONENT:
      return digit || c == '-' ? EXPONENT : INVALID;
    default:
      return INVALID;
  }
}

static uint32_t work_on_text(uint32_t crc) {
  static const char alphabet[16] = "0123456789+-.e ,";
  static char text[TEXT_LENGTH];
  uint32_t ends[STATES] = {0};
  for (int i = 0; i < TEXT_LENGTH; i++) text[i] = alphabet[next_random() >> 28];

  enum state state = START;
  for (int i = 0; i < TEXT_LENGTH; i++) {
    if (text[i] == ',' || text[i] == ' ') {
      ends[state]++;
      state = START;
    } else {
      state = next_state(state, text[i]);
    }
  }
  for (int i = 0; i < STATES; i++) crc = crc_word(crc, ends[i]);
  return crc;
}

uint32_t mix(uint32_t rounds) {
  uint32_t crc = 0xffffffff;
  random_state = 0x2545f491;
  make_crc_table();
  for (uint32_t i = 0; i < rounds; i++) crc = work_on_text(work_on_matrix(work_on_list(crc)));
  return ~crc;
}
