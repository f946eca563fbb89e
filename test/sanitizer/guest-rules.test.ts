// Each rule about guests: a guest that breaks it, and the same guest done right, against the same hypervisor.

import { describe, expect, it } from 'vitest';
import type { RuleId } from '../../src/sanitizer/rules.ts';
import { at, type Built, CLEAR, GHCB, head, judge, type Lie, mark, msr, poke, request, SHARED, TERMINATE, unmark } from './guests.ts';

type Case = { readonly wrong: Built; readonly right?: Built; readonly lie?: Lie; readonly merciful?: boolean; readonly nmi?: boolean };

const twice = `
    xor eax, eax
    cpuid
    xor eax, eax
    cpuid`;
const known = `
    mov rbx, 0x1122334455667788
    mov r10, 0x99
    xor eax, eax
    xor ecx, ecx
    cpuid`;
const BUFFER = GHCB + 0x800;
const mmioRead = (scratch: number): string => `
    mov qword ${at('swScratch')}, ${scratch}
    ${request(0x8000_0001, ['swScratch'], 0xe000_0000n, 4)}
    mov eax, ${at('swExitInfo1')}`;
/** A #VC is injected behind the first VMGEXIT, at a NOP, with the error code of CPUID. */
const wesee: Lie = (vcpu, number) => {
  if (number === 0) vcpu.inject((0x72n << 32n) | 0x8000_0b1dn);
};
const afterRequest = `${request(0x8000_0003)}\n    nop\n    nop`;
/** The stack in shared memory. */
const onSharedStack = `
    mov rsp, ${SHARED + 0x1000}
    mov eax, 0x8000001f
    xor ecx, ecx
    cpuid
    cpuid`;
const outs = (address: string, step: string): string => `
    cmp dword [rsp + 16], 0x7b
    jne notout
    mov r8b, ${address}
    mov [r15 + 0x800], r8b
    mov r8, ${BUFFER}
    mov ${at('swScratch')}, r8
    ${CLEAR}
    ${head(0x7b, 0x00e9_0e14n, 1)}
    ${mark(['swScratch'])}
    vmgexit
    cmp dword ${at('swExitInfo1')}, 0
    jne bad
    ${step}
    pop r9
    pop r8
    inc qword [rsp + 8]
    add rsp, 8
    iretq
  notout:`;
const sendString = `
    lea rsi, [rel text]
    mov edx, 0xe9
    outsb
    jmp done
  text:
    db 0x41, 0x42`;
const readIn = (take: string): string => `
    cmp dword [rsp + 16], 0x7b
    jne notin
    ${CLEAR}
    ${head(0x7b, 0x00e0_0211n)}
    ${mark([])}
    vmgexit
    cmp dword ${at('swExitInfo1')}, 0
    jne bad
    bt qword ${at('validBitmapLow')}, 63
    jnc bad
    ${take}
    pop r9
    pop r8
    inc qword [rsp + 8]
    add rsp, 8
    iretq
  notin:`;
const inputCode = `
    mov rax, 0x1122334455667788
    mov edx, 0xe0
    in al, dx`;

const cases: Readonly<Partial<Record<RuleId, Case>>> = {
  'stale-bitmap': { wrong: { code: twice, handler: { clear: '', leave: '', mark: mark(['rax', 'rcx'], 'or') } }, right: { code: twice } },
  'exposed-register': { wrong: { code: known, handler: { before: `mov ${at('rbx')}, rbx` } }, right: { code: known } },
  'request-incomplete': { wrong: { handler: { mark: mark(['rax']) } }, right: {} },
  'scratch-bounds': { wrong: { code: mmioRead(SHARED) }, right: { code: mmioRead(BUFFER) } },
  'ghcb-usage': { wrong: { code: `mov dword ${at('usage')}, 1\n${request(0x89)}` }, right: { code: request(0x89) } },
  'ghcb-version': { wrong: { code: `mov word ${at('protocolVersion')}, 3\n${request(0x89)}` }, right: { code: request(0x89) } },
  'ghcb-private': { wrong: { preamble: 'nop', code: request(0x89) }, right: { code: request(0x89) } },
  'ghcb-address': {
    wrong: { code: `mov ecx, 0xc0010130\nxor edx, edx\nmov eax, 0x7ffff000\nwrmsr\nvmgexit` },
    right: { code: request(0x89) },
  },
  'msr-request': { wrong: { code: msr(0x1002n) }, right: { code: msr(0x002n) } },
  'user-request': { wrong: {} },
  'nested-use': {
    wrong: {
      handler: {
        before:
          'push rax\npush rbx\npush rcx\npush rdx\nmov eax, 1\ncmp dword [rsp + 48], 0x72\njne bad\nmov r8, [rel depth]\ninc qword [rel depth]\ntest r8, r8\njnz deeper\ncpuid\ndeeper:\npop rdx\npop rcx\npop rbx\npop rax\njmp go\ndepth:\ndq 0\ngo:',
      },
    },
    right: {},
  },
  'interrupts-enabled': { wrong: { handler: { before: 'sti' } }, right: {} },
  'unchecked-valid-bit': { wrong: { handler: { bits: '' } }, right: {} },
  'field-not-valid': {
    wrong: { handler: { bits: `mov r8, ${at('validBitmapLow')}\nbt r8, 63\njnc bad\nmov r8, ${at('validBitmapHigh')}` } },
    right: {},
    lie: (vcpu) => unmark(vcpu, 'rbx'),
  },
  'unchecked-info1': { wrong: { handler: { info1: '' } }, right: {} },
  'exception-unchecked': {
    wrong: {
      handler: {
        info1: `cmp dword ${at('swExitInfo1')}, 2\nje bad`,
        bits: `mov r8, ${at('validBitmapLow')}\nmov r8, ${at('validBitmapHigh')}`,
      },
    },
    right: {},
    lie: (vcpu) => {
      poke(vcpu, 'swExitInfo1', 1n);
      poke(vcpu, 'swExitInfo2', 0x8000_0b0en);
    },
  },
  'register-width': {
    wrong: { code: inputCode, more: readIn(`movzx eax, byte ${at('rax')}`) },
    right: { code: inputCode, more: readIn(`mov al, ${at('rax')}`) },
  },
  'register-changed': { wrong: { code: known, handler: { leave: `${CLEAR}\nmov r10, 5` } }, right: { code: known } },
  'string-direction': {
    wrong: { code: sendString, more: outs('[rsi]', 'dec rsi') },
    right: { code: sendString, more: outs('[rsi]', 'inc rsi') },
  },
  'string-source': {
    wrong: { code: sendString, more: outs('[rsi + 1]', 'inc rsi') },
    right: { code: sendString, more: outs('[rsi]', 'inc rsi') },
  },
  'opcode-mismatch': { wrong: { code: afterRequest, handler: { opcode: '' } }, right: { code: afterRequest }, lie: wesee },
  'wrong-request': { wrong: { handler: { fill: `mov r8d, 1\nmov ${at('rax')}, r8\nmov r8d, ecx\nmov ${at('rcx')}, r8` } }, right: {} },
  'decode-changed': {
    wrong: {
      handler: {
        clear: `mov r8, [rsp + 24]\nmov byte [r8 + 1], 0x31\n${CLEAR}`,
        fill: `mov r8d, 1\nmov ${at('rax')}, r8\nmov r8d, ecx\nmov ${at('rcx')}, r8`,
      },
    },
    right: {},
  },
  'shared-stack': { wrong: { code: onSharedStack }, right: { code: 'mov eax, 0x8000001f\nxor ecx, ecx\ncpuid' } },
  'cbit-unverified': {
    wrong: { code: onSharedStack },
    right: { code: 'mov eax, 0x8000001f\nxor ecx, ecx\ncpuid\ncpuid' },
    lie: (vcpu, number) => {
      if (number === 0) poke(vcpu, 'rbx', 50n);
    },
  },
  'sev-hidden': {
    wrong: { code: onSharedStack },
    right: { code: 'mov eax, 0x8000001f\nxor ecx, ecx\ncpuid\ncpuid' },
    lie: (vcpu, number) => {
      if (number === 0) poke(vcpu, 'rax', 0n);
    },
  },
  'msr-response-unchecked': {
    wrong: { code: `${msr(2n)}\nmov ecx, 0xc0010130\nmov rax, r15\nxor edx, edx\nwrmsr\n${request(0x89)}` },
    right: { code: `${msr(2n)}\nmov ecx, 0xc0010130\nrdmsr\nand eax, 0xfff\ncmp eax, 1\njne bad` },
    lie: (vcpu, number) => {
      if (number === 0) vcpu.ghcbMsr = 2n;
    },
  },
  'ap-start-unchecked': {
    wrong: { code: `${request(0x8000_0005, [], 1)}\nmov rax, ${at('swExitInfo2')}\nmov word [rax], 0` },
    right: { code: `${request(0x8000_0005, [], 1)}\nmov rax, ${at('swExitInfo2')}\ncmp rax, ${SHARED}\njae bad\nmov word [rax], 0` },
    lie: (vcpu, number) => {
      if (number === 0) poke(vcpu, 'swExitInfo2', BigInt(SHARED));
    },
  },
  'goes-on': { wrong: { code: `${TERMINATE}\ncpuid` }, right: { code: TERMINATE }, merciful: true },
};

describe('a guest', () => {
  it.each(Object.entries(cases).filter(([rule]) => rule !== 'user-request'))('that does wrong: %s', (rule, { wrong, lie, merciful }) => {
    const { guest } = judge(wrong, { ...(lie === undefined ? {} : { lie }), merciful: merciful ?? false });
    expect(guest).toContain(rule);
  });

  it.each(Object.entries(cases).flatMap(([rule, one]) => (one.right === undefined ? [] : [[rule, one, one.right] as const])))(
    'that does right: %s',
    (_rule, { lie, merciful }, right) => {
      const { guest } = judge(right, { ...(lie === undefined ? {} : { lie }), merciful: merciful ?? false });
      expect(guest).toEqual([]);
    },
  );
});
