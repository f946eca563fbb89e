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
const receiveString = `
    lea rdi, [rel text]
    mov edx, 0xe0
    insb
    jmp done
  text:
    db 0x41, 0x42`;
const ins = (address: string): string => `
    cmp dword [rsp + 16], 0x7b
    jne notins
    mov r8, ${BUFFER}
    mov ${at('swScratch')}, r8
    ${CLEAR}
    ${head(0x7b, 0x00e0_0215n, 1)}
    ${mark(['swScratch'])}
    vmgexit
    cmp dword ${at('swExitInfo1')}, 0
    jne bad
    mov r8b, [r15 + 0x800]
    mov ${address}, r8b
    inc rdi
    pop r9
    pop r8
    inc qword [rsp + 8]
    add rsp, 8
    iretq
  notins:`;
const readDr7 = (value: number): string => `
    cmp dword [rsp + 16], 0x27
    jne notdr7
    mov ebx, ${value}
    pop r9
    pop r8
    add qword [rsp + 8], 3
    add rsp, 8
    iretq
  notdr7:`;
/** Two NMIs: the second must wait for the end of the first. */
const nmis = (handler: string): Built => ({
  code: `${request(0x89)}\n${request(0x89)}\njmp done\nnmi:\n${handler}\niretq`,
  gates: { 2: 'nmi' },
});
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
  'string-count': {
    wrong: { code: sendString, more: outs('[rsi]', 'inc rsi\ninc rcx') },
    right: { code: sendString, more: outs('[rsi]', 'inc rsi') },
  },
  'string-target': {
    wrong: { code: receiveString, more: ins('[rdi + 1]') },
    right: { code: receiveString, more: ins('[rdi]') },
  },
  'result-lost': {
    wrong: { code: known, handler: { take: `mov eax, ${at('rax')}\nmov ecx, ${at('rcx')}\nmov edx, ${at('rdx')}` } },
    right: { code: known },
  },
  'dr7-value': { wrong: { code: 'mov rbx, dr7', more: readDr7(0) }, right: { code: 'mov rbx, dr7', more: readDr7(0x401) } },
  'resumed-elsewhere': {
    wrong: { code: `${twice}\nnop`, handler: { end: 'pop r9\npop r8\nadd qword [rsp + 8], 3\nadd rsp, 8\niretq' } },
    right: { code: `${twice}\nnop` },
  },
  'nmi-incomplete': {
    wrong: nmis(''),
    right: nmis(request(0x8000_0003)),
    lie: (vcpu, number) => {
      if (number < 2) vcpu.interrupts.apic.nmi = true;
    },
  },
  'termination-reason': { wrong: { code: msr(0x5_0100n) }, right: { code: msr(0x5_1100n) } },
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

describe('what belongs to one rule', () => {
  it.each([
    ['IF', 'or qword [rsp + 40], 0x200'],
    ['AC', 'or qword [rsp + 40], 0x40000'],
    ['IOPL', 'or qword [rsp + 40], 0x3000'],
    ['ZF', 'xor qword [rsp + 40], 0x40'],
  ])('a flag of the program is a register: %s', (_flag, change) => {
    expect(judge({ code: known, handler: { leave: `${CLEAR}\n${change}` } }).guest).toContain('register-changed');
  });

  it('clearing RF is not a change', () => {
    expect(judge({ code: known, handler: { leave: `${CLEAR}\nand dword [rsp + 40], ~0x10000` } }).guest).toEqual([]);
  });

  it('interrupts are enabled where the answer is read, though none comes', () => {
    const { findings } = judge({ handler: { send: 'vmgexit\nsti' } });
    expect(findings.map(({ rule, text }) => `${rule}: ${text}`)).toContain('interrupts-enabled: the answer is read with RFLAGS.IF set');
  });

  it('a version that nobody has defined, whatever the hypervisor claims to speak', () => {
    const lie: Lie = (vcpu, number) => {
      if (number === 0) vcpu.ghcbMsr = (101n << 48n) | (100n << 32n) | (vcpu.ghcbMsr & 0xffff_ffffn);
    };
    const back = `mov ecx, 0xc0010130\nmov rax, r15\nxor edx, edx\nwrmsr\nmov word ${at('protocolVersion')}, 101`;
    expect(judge({ code: `${msr(0x002n)}\n${back}${request(0x89)}` }, { lie }).guest).toContain('ghcb-version');
  });

  describe('REP of a request', () => {
    const string = (prefix: string): string => `
    lea rsi, [rel text]
    mov edx, 0xe9
    mov ecx, 2
    ${prefix} outsb
    jmp done
  text:
    db 0x41, 0x42`;
    /** Serves so many elements at once, with this IOIO word. */
    const serve = (word: bigint, elements: number, step: string): string => `
    cmp dword [rsp + 16], 0x7b
    jne notout
    mov r8w, [rsi]
    mov [r15 + 0x800], r8w
    mov r8, ${BUFFER}
    mov ${at('swScratch')}, r8
    ${CLEAR}
    ${head(0x7b, word, elements)}
    ${mark(['swScratch'])}
    vmgexit
    cmp dword ${at('swExitInfo1')}, 0
    jne bad
    ${step}
    pop r9
    pop r8
    add rsp, 8
    iretq
  notout:`;
    const REP = 8n;
    const OUTSB = 0x00e9_0e14n;
    const all = 'add rsi, 2\nxor ecx, ecx\nadd qword [rsp + 24], 2';
    const one = 'inc rsi\ndec rcx\njnz more\nadd qword [rsp + 24], 2\nmore:';
    const texts = (code: string, more: string): string[] => judge({ code, more }).findings.map(({ rule, text }) => `${rule}: ${text}`);

    it('is there if the instruction has it', () => {
      expect(texts(string('rep'), serve(OUTSB | REP, 2, all))).toEqual([]);
      expect(texts(string('rep'), serve(OUTSB, 2, all))).toEqual([
        'wrong-request: the request has no REP, and 2 elements; the instruction has REP',
      ]);
    });

    it('may be missing where element by element is asked for', () => {
      expect(texts(string('rep'), serve(OUTSB, 1, one))).toEqual([]);
    });

    it('is not there if the instruction has none', () => {
      expect(texts(string(''), serve(OUTSB | REP, 1, 'inc rsi\ninc qword [rsp + 24]'))).toEqual([
        'wrong-request: the request has REP, and the instruction has not',
      ]);
    });
  });

  it('a result that another register gets is lost', () => {
    const take = `
    mov eax, ${at('rax')}
    mov ebx, ${at('rcx')}
    mov ecx, ${at('rbx')}
    mov edx, ${at('rdx')}`;
    expect(judge({ handler: { take } }).findings.map(({ rule, text }) => `${rule}: ${text}`)).toEqual([
      'result-lost: RBX got RCX of the answer',
    ]);
  });
});

describe('what the hypervisor does is no mistake of the guest', () => {
  it('an interrupt injected although RFLAGS.IF is clear', () => {
    const gates = { 48: 'tick' };
    const after = `vmgexit\njmp on\ntick:\niretq\non:`;
    const lie: Lie = (vcpu, number) => {
      if (number === 0) vcpu.inject(0x8000_0030n);
    };
    const { guest, result } = judge({ handler: { send: after }, gates }, { lie });
    expect(result.outcome.kind).toBe('halted');
    expect(guest).toEqual([]);
  });

  it('version and usage that it has changed, and finds again', () => {
    const lie: Lie = (vcpu, number) => {
      if (number > 0) return;
      poke(vcpu, 'usage', 1n);
      poke(vcpu, 'protocolVersion', 0xffffn);
    };
    expect(judge({ code: `${request(0x89)}\nmov eax, ${at('swExitInfo1')}${request(0x8000_0003)}` }, { lie }).guest).toEqual([]);
  });
});
