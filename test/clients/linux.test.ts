// A Linux kernel as a distribution ships it, from its entry point to its first program: CBIT_LINUX=vmlinuz (a bzImage with CONFIG_AMD_MEM_ENCRYPT).

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { type GuestOptions, launch } from '../../src/cbit.ts';
import { nodeAes } from '../../src/cli/aes-node.ts';
import { attachSanitizer } from '../../src/sanitizer/sanitizer.ts';
import { Taint } from '../../src/taint/taint.ts';
import { SLICE, type VirtualMachine } from '../../src/virtual-machine.ts';
import { helloFromUserSpace } from './initramfs.ts';

const path = process.env['CBIT_LINUX'];
const MOST = 2_000_000_000;
const LINE = 'hello from user space';
/** Without tests of its own ciphers, which take most of the time. */
const COMMAND_LINE =
  'console=ttyS0 acpi=off cryptomgr.notests initcall_blacklist=load_system_certificate_list,trace_eval_init mitigations=off audit=0';

function booted(options: Partial<GuestOptions>, watch: (vm: VirtualMachine) => () => void = () => () => undefined): string {
  let serial = '';
  const vm = launch({
    image: { name: 'vmlinuz', bytes: new Uint8Array(readFileSync(path ?? '')) },
    initrd: { name: 'initrd', bytes: helloFromUserSpace(LINE) },
    append: COMMAND_LINE,
    memory: 256 << 20,
    haltOk: true,
    aes: nodeAes,
    maxInstructions: MOST,
    onSerial: (byte) => (serial += String.fromCharCode(byte)),
    ...options,
  });
  try {
    const finish = watch(vm);
    while (!vm.advance(SLICE));
    finish();
    expect(`${serial.slice(-2000)}\n${vm.outcome?.kind}`).toMatch(/\nhalted$/);
    return serial;
  } finally {
    vm.dispose();
  }
}

describe.skipIf(path === undefined)('Linux (CBIT_LINUX)', { timeout: 600_000 }, () => {
  it.each(['none', 'sev'] as const)('comes to user space under %s', (technology) => {
    expect(booted({ technology })).toContain(LINE);
  });

  it('comes to user space as an SEV-ES guest, and does wrong what it is known for', () => {
    let found: string[] = [];
    const serial = booted({ technology: 'sev-es' }, (vm) => {
      const sanitizer = attachSanitizer(vm);
      return () => {
        sanitizer.finish();
        found = sanitizer.findings.map(({ rule, exit, side }) => `${side} ${exit} ${rule}`);
      };
    });
    expect(serial).toContain(LINE);
    expect(serial).toMatch(/Memory Encryption Features active: AMD SEV SEV-ES/);
    // IN of a byte or word clears the rest of EAX, and the valid bits of RAX and RDX are not tested behind RDMSR.
    const known = ['guest IN register-width', 'guest RDMSR unchecked-valid-bit'];
    expect(found.filter((finding) => !known.includes(finding))).toEqual([]);
  });

  it('shows the hypervisor nothing that it did not ask for, and proves its C-bit', () => {
    let found: unknown = null;
    const serial = booted({ technology: 'sev-es', tier: 'labels', append: `${COMMAND_LINE} nokaslr` }, (vm) => {
      const taint = new Taint(vm);
      return () => {
        taint.finish();
        found = taint.findings;
      };
    });
    expect(serial).toContain(LINE);
    expect(found).toEqual([]);
  });
});
