// Single step on control transfers in a guest, over an instruction that the hypervisor executes in its stead. APM vol. 2, 13.1.4.

import { expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { launch } from '../../src/cbit.ts';
import { technologies } from './runs.ts';
import { assembleGuest, MEMORY, type Served, SHARED } from './small-guest.ts';

const cpuid: Served = { instruction: 'cpuid', exitCode: ExitCode.CPUID, sends: ['rax', 'rcx'], takes: ['rax', 'rbx', 'rcx', 'rdx'] };

it.each(technologies)('a guest under %s is trapped behind a branch, not behind CPUID', (technology) => {
  const { bytes, labels } = assembleGuest(
    `mov ecx, 0x1d9\n mov eax, 2\n xor edx, edx\n wrmsr
     pushfq\n or dword [rsp], 0x100\n popfq
     xor eax, eax\n xor ecx, ecx\n cpuid\n inc esi\n jmp there\n nop\n there: nop\n nop\n jmp over
     db1: mov rax, [rsp]\n mov [${SHARED}], rax\n inc dword [${SHARED + 8}]
     mov ecx, 0x1d9\n rdmsr\n mov [${SHARED + 12}], eax\n and dword [rsp + 16], ${~0x100 >>> 0}\n iretq
     over: cli`,
    [cpuid],
    { 1: 'db1' },
  );
  const vm = launch({ image: { name: 'test', bytes }, technology, memory: MEMORY, maxInstructions: 10_000 });
  try {
    while (!vm.advance(10_000));
    const page = new Uint8Array(16);
    vm.vcpu.readMemory(BigInt(SHARED), page);
    const view = new DataView(page.buffer);
    expect([view.getBigUint64(0, true), view.getUint32(8, true)]).toEqual([labels.get('there'), 1]);
    // #DB ended it.
    expect(view.getUint32(12, true)).toBe(0);
  } finally {
    vm.dispose();
  }
});
