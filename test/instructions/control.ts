// JMP Jcc CALL RET LOOPcc JrCXZ. APM vol. 3.

import { Vector } from '../../src/arch/exception.ts';
import { type InstructionCase, Place } from './case.ts';

const { CODE, DATA, STACK } = Place;
const at = (address: number, bytes = 8): string =>
  Array.from({ length: bytes }, (_, n) => Math.floor(address / 256 ** n) % 256)
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(' ');
const gp = { vector: Vector.GP, code: 0 } as const;

// biome-ignore format: one case to a row
export const control: readonly InstructionCase[] = [
  { name: 'JMP short skips', source: 'jmp end\nmov eax, 1\nend:', in: { rax: 0 } },
  { name: 'JMP near', source: 'jmp near end\ntimes 200 nop\nend:' },
  { name: 'JMP through a register', source: 'lea rbx, [rel end]\njmp rbx\nhlt\nend:', out: { rbx: CODE + 10 } },
  { name: 'JMP through memory', source: 'jmp [rbx]\nhlt\nend:', in: { rbx: DATA }, memory: { [DATA]: at(CODE + 3) } },
  { name: 'Jcc taken and not taken', source: 'jz one\nmov eax, 1\none: jnz two\nmov ebx, 2\ntwo:', in: { rax: 0, rbx: 0 }, flagsIn: 'ZF', out: { rbx: 2 } },
  { name: 'JL looks at SF and OF', source: 'cmp eax, ebx\njl end\nhlt\nend:', in: { rax: 0x8000_0000, rbx: 1 }, flags: 'PF AF OF' },
  { name: 'JBE looks at CF and ZF', source: 'cmp eax, ebx\njbe end\nhlt\nend:', in: { rax: 1, rbx: 1 }, flags: 'PF ZF' },
  { name: 'JP looks at the low byte', source: 'test eax, eax\njp end\nhlt\nend:', in: { rax: 0x103 }, flags: 'PF', undefined: 'AF' },
  { name: 'CALL pushes the address behind it', source: 'call end\nhlt\nend:', out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: at(CODE + 5) } },
  { name: 'CALL through a register', source: 'lea rax, [rel end]\ncall rax\nhlt\nend:', out: { rax: CODE + 10, rsp: STACK - 8 }, memoryOut: { [STACK - 8]: at(CODE + 9) } },
  { name: 'CALL through memory relative to RSP uses the old RSP', source: 'call [rsp]\nhlt\nend:', memory: { [STACK]: at(CODE + 4) }, out: { rsp: STACK - 8 }, memoryOut: { [STACK - 8]: at(CODE + 3) } },
  { name: 'RET pops the address', source: 'push end\nret\nhlt\nend:', memoryOut: { [STACK - 8]: at(CODE + 7) } },
  { name: 'RET imm16 drops arguments', source: 'push end\nret 16\nhlt\nend:', out: { rsp: STACK + 16 }, memoryOut: { [STACK - 8]: at(CODE + 9) } },
  { name: 'CALL and RET nest', source: 'call f\njmp end\nf: call g\nret\ng: inc eax\nret\nend:', in: { rax: 0 }, out: { rax: 1 }, flags: '', memoryOut: { [STACK - 16]: `${at(CODE + 12)} ${at(CODE + 5)}` } },
  { name: 'LOOP counts RCX down', source: 'again: inc eax\nloop again', in: { rax: 0, rcx: 3 }, out: { rax: 3, rcx: 0 }, flags: 'PF' },
  { name: 'LOOP with ECX clears the upper half', source: 'here: a32 loop here', in: { rcx: 0x5_0000_0002n }, out: { rcx: 0 } },
  { name: 'LOOPE stops when ZF is clear', source: 'loope target\nmov eax, 1\ntarget:', in: { rax: 0, rcx: 5 }, out: { rax: 1, rcx: 4 } },
  { name: 'LOOPNE goes on while ZF is clear', source: 'loopne target\nhlt\ntarget:', in: { rcx: 5 }, out: { rcx: 4 } },
  { name: 'JRCXZ', source: 'jrcxz end\nhlt\nend:', in: { rcx: 0 } },
  { name: 'JECXZ ignores the upper half', source: 'jecxz end\nhlt\nend:', in: { rcx: 0x1_0000_0000n } },
  { name: 'JMP to a non-canonical address raises #GP at the JMP', source: 'jmp rax', in: { rax: 0x8000_0000_0000n }, exception: gp },
  ...[0x4000_0000_0000_0000n, 0x4000_0000_4000_0000n, 0x8000_0000_0000_0000n, 1n << 60n].map(
    (rax): InstructionCase => ({ name: `JMP to ${rax.toString(16)}h raises #GP at the JMP`, source: 'jmp rax', in: { rax }, exception: gp }),
  ),
  { name: 'A jump to address 0 faults there if nothing is mapped', source: 'jmp rax', in: { rax: 0 }, out: { rip: 0 }, exception: { vector: Vector.PF, code: 0x10, address: 0 } },
  { name: 'CALL to a non-canonical address raises #GP and pushes nothing', source: 'call rax', in: { rax: 0x8000_0000_0000n }, exception: gp },
  { name: 'RET to a non-canonical address raises #GP and pops nothing', source: 'ret', memory: { [STACK]: '00 00 00 00 00 80 00 00' }, exception: gp },
  { name: 'A jump to an absent page faults at its target', source: `jmp rax`, in: { rax: Place.ABSENT }, out: { rip: Place.ABSENT }, exception: { vector: Vector.PF, code: 0x10, address: Place.ABSENT } },
];
