/* Configuration space of PCI functions on bus 0, by mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define PCI_ID           0x00
#define PCI_COMMAND      0x04
#define PCI_STATUS       0x06
#define PCI_BAR(n)       (0x10 + 4 * (n))
#define PCI_CAPABILITIES 0x34

#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4

/* Device and function in one: bits 15:8 of the address. */
struct pci_function {
  uint32_t address;
};

uint32_t pci_read(const struct pci_function *fn, unsigned offset, unsigned size);
void pci_write32(const struct pci_function *fn, unsigned offset, uint32_t value);

/* Looks for vendor and device; false if there is none. */
bool pci_find(uint32_t id, struct pci_function *fn);

/* Next capability with this identifier behind `at` (0: from the first on); 0 if there is none. */
unsigned pci_capability(const struct pci_function *fn, unsigned id, unsigned at);

/* Where a memory BAR is, and its size. */
uint64_t pci_bar(const struct pci_function *fn, unsigned n, uint64_t *size);
