/*
 * The ways in which a guest ends, one a run: `--append msr` and so on. A guest that cannot trust its hypervisor any more has only two
 * things to say to it, a reason set and a reason code; the run's account shows them.
 *
 * Watch what each of them needs: `msr` a register and nothing else, so it works from the first instruction on and with a broken
 * GHCB; `page` the GHCB, and has room for 64 bits more; `protocol` is what a guest says that found no common version; `unsupported`
 * is not the guest's end by itself: it reports a #VC that it cannot serve (here INVD), and what then happens is the hypervisor's
 * decision. `shutdown` is what is left when no handler is.
 */
#include "boot.h"
#include "cpu.h"
#include "exception.h"
#include "ghcb.h"
#include "memory.h"
#include "panic.h"
#include "print.h"
#include "report.h"
#include "segments.h"

#define OWN_SET  1 /* reason sets from 1 on are the guest's */
#define OWN_CODE 0x42

static void end_by_msr(void) {
  ghcb_terminate(TERMINATE_GENERAL);
}

static void end_by_own_reason(void) {
  ghcb_terminate_because(OWN_SET, OWN_CODE);
}

static void end_by_protocol(void) {
  ghcb_terminate(TERMINATE_PROTOCOL);
}

/* [3:0] reason set, [11:4] reason code: the other way round than in the MSR. */
static void end_by_page(void) {
  struct ghcb *ghcb = ghcb_begin();
  ghcb_call(ghcb, GHCB_EVENT_TERMINATION, OWN_CODE << 4 | OWN_SET, 0x1122334455667788, 0);
  ghcb_terminate_because(OWN_SET, OWN_CODE); /* whoever comes back from there has nothing else left to say */
}

static void end_by_unsupported(void) {
  asm volatile("invd" : : : "memory");
}

static void end_by_panic(void) {
  panic("as asked for");
}

static void end_by_device(void) {
  end_guest(7);
}

static void end_by_halt(void) {
  halt_for_good();
}

/* No IDT: an exception finds no gate, so does #GP for that, and #DF. */
static void end_by_shutdown(void) {
  struct descriptor_table none = {0, 0};
  asm volatile("lidt %0\n ud2" : : "m"(none));
}

static const struct way {
  const char *name;
  bool needs_ghcb;
  void (*go)(void);
} ways[] = {
  {"msr", true, end_by_msr},
  {"own", true, end_by_own_reason},
  {"protocol", true, end_by_protocol},
  {"page", true, end_by_page},
  {"unsupported", true, end_by_unsupported},
  {"panic", false, end_by_panic},
  {"device", false, end_by_device},
  {"halt", false, end_by_halt},
  {"shutdown", false, end_by_shutdown},
};

static bool same(const char *a, const char *b) {
  size_t length = strlen(a);
  return length == strlen(b) && memcmp(a, b, length) == 0;
}

void main(void) {
  for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) {
    if (!same(boot_append, ways[i].name)) continue;
    if (ways[i].needs_ghcb && !is_sev_es()) {
      print("'%s' needs SEV-ES: this guest has no GHCB\n", ways[i].name);
      return;
    }
    print("going by '%s'\n", ways[i].name);
    ways[i].go();
    report(false, "the hypervisor goes on as if nothing had been said");
    return;
  }
  print("ways to go, for --append:");
  for (unsigned i = 0; i < sizeof ways / sizeof *ways; i++) print(" %s", ways[i].name);
  print("\n");
  report(!boot_append[0], "going by the test device, with 0");
}
