#include "pci.h"

#include "cpu.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  0x80000000u

#define STATUS_CAPABILITIES 0x10
#define BAR_IO              1
#define BAR_64              4

static void select(const struct pci_function *fn, unsigned offset) {
  out32(CONFIG_ADDRESS, CONFIG_ENABLE | fn->address | (offset & 0xfc));
}

uint32_t pci_read(const struct pci_function *fn, unsigned offset, unsigned size) {
  select(fn, offset);
  uint32_t value = in32(CONFIG_DATA) >> 8 * (offset & 3);
  return size == 4 ? value : value & ((1u << 8 * size) - 1);
}

void pci_write32(const struct pci_function *fn, unsigned offset, uint32_t value) {
  select(fn, offset);
  out32(CONFIG_DATA, value);
}

bool pci_find(uint32_t id, struct pci_function *fn) {
  for (unsigned devfn = 0; devfn < 256; devfn++) {
    *fn = (struct pci_function){devfn << 8};
    if (pci_read(fn, PCI_ID, 4) == id) return true;
  }
  return false;
}

unsigned pci_capability(const struct pci_function *fn, unsigned id, unsigned at) {
  if (!(pci_read(fn, PCI_STATUS, 2) & STATUS_CAPABILITIES)) return 0;
  at = pci_read(fn, at ? at + 1 : PCI_CAPABILITIES, 1) & 0xfc;
  for (unsigned left = 48; at && left > 0; left--) { /* a list that goes round in a circle is the hypervisor's idea */
    if (pci_read(fn, at, 1) == id) return at;
    at = pci_read(fn, at + 1, 1) & 0xfc;
  }
  return 0;
}

/* Written with ones, the bits that stay 0 tell the size; decoding is off meanwhile (6.2.5.1). */
uint64_t pci_bar(const struct pci_function *fn, unsigned n, uint64_t *size) {
  uint32_t low = pci_read(fn, PCI_BAR(n), 4), command = pci_read(fn, PCI_COMMAND, 4);
  if (low & BAR_IO) return 0;
  pci_write32(fn, PCI_COMMAND, command & 0xfff8);
  pci_write32(fn, PCI_BAR(n), ~0u);
  *size = -(uint64_t)(int32_t)(pci_read(fn, PCI_BAR(n), 4) & ~0xfu);
  pci_write32(fn, PCI_BAR(n), low);
  pci_write32(fn, PCI_COMMAND, command & 0xffff);
  uint64_t high = low & BAR_64 ? (uint64_t)pci_read(fn, PCI_BAR(n + 1), 4) << 32 : 0;
  return high | (low & ~0xfu);
}
