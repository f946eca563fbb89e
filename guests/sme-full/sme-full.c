/*
 * SME for all of memory: every access goes through the C-bit, page tables included. Run it with `cbit run --bare guests/sme-full`.
 *
 * Watch: the kernel was loaded as plain text, as boot loaders do it, and encrypts itself in place while it runs (as Linux does with
 * mem_encrypt=on): encrypt.S copies each page from a mapping without the C-bit to one with it, from a place outside of what it encrypts, and
 * loads tables whose every entry, and CR3, has the C-bit. Afterwards a window without the C-bit, the only one there is, shows
 * what the chips hold: ciphertext, of code, data, stack and page tables.
 */
#include "boot.h"
#include "cbit.h"
#include "cpu.h"
#include "exception.h"
#include "memory.h"
#include "paging.h"
#include "print.h"
#include "report.h"
#include "sme.h"

#define GIB         0x40000000ull
#define ALIAS       (1ull << 39) /* all memory once more, with the C-bit */
#define WINDOW      (2ull << 39) /* and without it: to look at ciphertext */
#define SCRATCH     0x400000ull  /* free memory for both sets of tables, the routine and its buffer */
#define LEAST       0x600000ull
#define TABLE       (PAGE_PRESENT | PAGE_WRITABLE)
#define LARGE       (PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE)
#define GIBS        3

enum { OLD4, OLD3, OLD3_ALIAS, NEW4, NEW3, NEW3_ALIAS, NEW3_WINDOW, ROUTINE, BUFFER };

extern char image_start[], image_end[]; /* kernel.ld */
extern const char encrypt_in_place[], encrypt_in_place_end[];
typedef void encrypt_routine(uint64_t first, uint64_t end, uint64_t alias, uint64_t buffer, uint64_t cr3);

static const char text[] = "Nothing of this is left in the chips. ";
static char page[PAGE_SIZE] PAGE_ALIGNED __attribute__((section(".data"))) = "Nothing of this is left in the chips. ";

static uint64_t scratch(unsigned n) {
  return SCRATCH + n * (uint64_t)PAGE_SIZE;
}

static void *through(uint64_t base, uint64_t address) {
  return (void *)(base + address);
}

/* The first GIBS GiB, one to one in pages of 1 GiB. */
static void fill_level3(uint64_t *table, uint64_t c_bit) {
  memset(table, 0, PAGE_SIZE);
  for (uint64_t n = 0; n < GIBS; n++) table[n] = n * GIB | c_bit | LARGE;
}

/* Plain tables: memory as it is, and its aliases. */
static void load_old_tables(void) {
  uint64_t *level4 = through(0, scratch(OLD4));
  memset(level4, 0, PAGE_SIZE);
  fill_level3(through(0, scratch(OLD3)), 0);
  fill_level3(through(0, scratch(OLD3_ALIAS)), sme.mask);
  level4[0] = scratch(OLD3) | TABLE;
  level4[1] = scratch(OLD3_ALIAS) | TABLE;
  write_cr3(scratch(OLD4));
}

/* Encrypted tables, written through the aliases: memory with the C-bit, its aliases, where the routine runs, and the window. */
static void make_new_tables(void) {
  uint64_t *level4 = through(ALIAS, scratch(NEW4));
  memset(level4, 0, PAGE_SIZE);
  fill_level3(through(ALIAS, scratch(NEW3)), sme.mask);
  fill_level3(through(ALIAS, scratch(NEW3_ALIAS)), sme.mask);
  fill_level3(through(ALIAS, scratch(NEW3_WINDOW)), 0);
  level4[0] = scratch(NEW3) | sme.mask | TABLE;
  level4[1] = scratch(NEW3_ALIAS) | sme.mask | TABLE;
  level4[2] = scratch(NEW3_WINDOW) | sme.mask | TABLE;
}

static void encrypt_everything(void) {
  load_old_tables();
  make_new_tables();
  void *copy = through(ALIAS, scratch(ROUTINE));
  memcpy(copy, encrypt_in_place, encrypt_in_place_end - encrypt_in_place);
  encrypt_routine *routine = (encrypt_routine *)copy;
  routine((uint64_t)image_start, (uint64_t)image_end, ALIAS, (uint64_t)through(ALIAS, scratch(BUFFER)), scratch(NEW4) | sme.mask);
  for (unsigned n = OLD4; n <= OLD3_ALIAS; n++) memset(through(0, scratch(n)), 0, PAGE_SIZE);
}

/* The chips' bytes of a page are not the ones that we read. */
static bool is_ciphertext(const void *at) {
  const void *chips = through(WINDOW, (uint64_t)at & ~(PAGE_SIZE - 1ull));
  const void *ours = (const void *)((uint64_t)at & ~(PAGE_SIZE - 1ull));
  sme_flush(ours);
  bool differs = !same_bytes(ours, chips);
  sme_flush(chips);
  return differs;
}

static void show_memory(void) {
  unsigned pages = 0, encrypted = 0;
  for (char *at = image_start; at < image_end; at += PAGE_SIZE) {
    pages++;
    if (is_ciphertext(at)) encrypted++;
  }
  report(encrypted == pages, "%u of %u pages of this kernel are ciphertext in the chips", encrypted, pages);
  report(is_ciphertext((const void *)encrypt_everything), "code among them");
  report(is_ciphertext(__builtin_frame_address(0)), "and the stack that we stand on");
  report(memcmp(page, text, sizeof text - 1) == 0, "with the C-bit it reads as ever: \"%s...\"", page);
}

static void show_tables(void) {
  report(read_cr3() & sme.mask, "CR3 has the C-bit");
  for (unsigned n = NEW4; n <= NEW3_WINDOW; n++)
    if (!is_ciphertext(through(0, scratch(n)))) {
      report(false, "page table %u is ciphertext", n);
      return;
    }
  report(true, "all page tables are ciphertext: the processor decrypts them where it walks them");
}

/* The processor reads the IDT, the gates' code segment and the TSS through the C-bit like everything else. */
static void show_exception(void) {
  TRY("ud2", : : : "memory");
  report(last_trap.vector == VECTOR_UD, "exceptions are delivered by an encrypted IDT");
  TRY("movb (%0), %%al", : : "r"(3ull << 39) : "rax", "memory");
  report(last_trap.vector == VECTOR_PF && !(last_trap.error_code & PAGE_FAULT_P), "what is not mapped is not there");
}

void main(void) {
  if (!sme_find()) return;
  if (boot.memory_size < LEAST) {
    report(false, "there are 6 MiB of memory");
    return;
  }
  sme_enable();
  encrypt_everything();
  print("encrypted in place: %lx-%lx\n", (uint64_t)image_start, (uint64_t)image_end);
  show_memory();
  show_tables();
  show_exception();
}
