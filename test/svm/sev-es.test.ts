import { describe, expect, it } from 'vitest';
import { ExitCode } from '../../src/arch/exit-code.ts';
import { vmsaIntegrity } from '../../src/sev/vmsa-integrity.ts';
import { build, Guest, SLOT, VMSA_PAGE } from './fixture.ts';

const hex = (n: bigint | number): string => n.toString(16);
const VMGEXIT = 'db 0xf3, 0x0f, 0x01, 0xd9';

describe('an SEV-ES guest', () => {
  it('takes #VC with the exit code for a non-automatic exit, and leaves by VMGEXIT with RIP behind it', () => {
    const box = build('sev-es', `cpuid\n mov rcx, rax\n hlt`, `pop rax\n add qword [rsp], 2\n ${VMGEXIT}\n iretq`);
    expect(box.run()).toBe(ExitCode.VMGEXIT);
    expect([...box.svm.vcCounts]).toEqual([[ExitCode.CPUID, 1]]);
    expect(box.vmcb.exitInfo1).toBe(0n);
    expect(box.vmcb.nRip).toBe(0n);
    expect(box.run()).toBe(ExitCode.HLT);
    const vmsa = box.openVmsa();
    expect(hex(vmsa.rcx)).toBe('72');
    expect(hex(vmsa.rip)).toBe(hex(Guest.CODE + 6));
    expect(hex(vmsa.rbx)).toBe('1122334455667788');
    expect(box.notes.filter(({ kind }) => kind === 'vc')).toEqual([
      { kind: 'vc', exitCode: 0x72, rip: BigInt(Guest.CODE), instruction: 'CPUID' },
    ]);
  });

  it('shows no register to the host', () => {
    const box = build('sev-es', 'mov rax, 0x123456789abc\n hlt');
    box.registers.fill(7n);
    box.save.rip = 0n;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.registers.every((value) => value === 7n)).toBe(true);
    expect(box.save.rip).toBe(0n);
    const seen = new Uint8Array(4096);
    box.svm.memory.read(VMSA_PAGE, seen);
    expect(seen.indexOf(0x9a)).not.toBe(0x1f8 + 1);
    expect(hex(box.openVmsa().rax)).toBe('123456789abc');
  });

  it('leaves automatically on a nested page fault, unless a reserved bit was set in the nested entry', () => {
    const automatic = build('sev-es', 'mov rax, 0x100000\n mov [rax], ebx', 'pop rax\n hlt');
    expect(automatic.run()).toBe(ExitCode.NPF);
    expect(automatic.vmcb.instructionBytesFetched).toBe(0);
    const reserved = build('sev-es', `mov rax, ${Guest.DEVICE}\n mov [rax], ebx`, 'pop rax\n hlt');
    expect(reserved.run()).toBe(ExitCode.HLT);
    expect(hex(reserved.openVmsa().rax)).toBe('400');
  });

  it('traps writes of CR4 after the fact with the new value', () => {
    const box = build('sev-es', 'mov rax, cr4\n or rax, 0x80\n mov cr4, rax\n hlt');
    expect(box.run()).toBe(ExitCode.CR0_WRITE_TRAP + 4);
    expect(hex(box.vmcb.exitInfo1)).toBe('a0');
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().cr4)).toBe('a0');
  });

  it('tells the host RFLAGS.IF and its GHCB MSR, and takes the GHCB MSR from the VMCB', () => {
    const box = build(
      'sev-es',
      `mov ecx, 0xc0010130\n rdmsr\n mov rbx, rax\n mov eax, 0x5000\n xor edx, edx\n wrmsr\n sti\n nop\n hlt\n hlt`,
    );
    box.vmcb.ghcb = 0x0123_4001n;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.vmcb.ghcb)).toBe('5000');
    expect(box.vmcb.interruptState & 3n).toBe(2n);
    expect(hex(box.openVmsa().rbx)).toBe('1234001');
  });

  it('reads SEV_STATUS without any intercept', () => {
    const box = build('sev-es', 'mov ecx, 0xc0010131\n rdmsr\n hlt');
    expect(box.run()).toBe(ExitCode.HLT);
    expect(box.openVmsa().rax).toBe(3n);
  });

  it('never has its #VC intercepted', () => {
    const box = build('sev-es', 'cpuid', 'pop rax\n hlt');
    box.vmcb.interceptException = 1 << 29;
    expect(box.run()).toBe(ExitCode.HLT);
  });

  it('cannot keep the host out by #VCs without end', () => {
    const box = build('sev-es', 'cpuid', 'cpuid');
    box.svm.setTimer(500);
    const code = box.run();
    expect([ExitCode.INTR, ExitCode.SHUTDOWN, ExitCode.NPF]).toContain(code);
  });

  it('lets an intercepted exception become a #VC with its exit code', () => {
    const box = build('sev-es', 'ud2', 'pop rax\n hlt');
    box.vmcb.interceptException = 1 << 6;
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rax)).toBe('46');
  });
});

describe('the VMSA', () => {
  const flip = (box: ReturnType<typeof build>, offset: number): void => {
    const byte = new Uint8Array(1);
    box.svm.memory.read((VMSA_PAGE + offset) as never, byte);
    byte[0] = (byte[0] as number) ^ 1;
    box.svm.memory.write((VMSA_PAGE + offset) as never, byte);
  };

  it('altered by one bit makes VMRUN fail, and works again when the bit is put back', () => {
    const box = build('sev-es', 'hlt\n hlt\n hlt');
    expect(box.run()).toBe(ExitCode.HLT);
    flip(box, 0x178);
    expect(box.run()).toBe(ExitCode.INVALID);
    expect(box.svm.refusal).toContain('integrity');
    flip(box, 0x178);
    expect(box.run()).toBe(ExitCode.HLT);
    expect(hex(box.openVmsa().rip)).toBe(hex(Guest.CODE + 2));
  });

  it('may be read by the host: ciphertext, and nothing is lost', () => {
    const box = build('sev-es', 'mov rbx, 5\n hlt\n inc rbx\n hlt');
    box.run();
    const first = new Uint8Array(4096);
    const second = new Uint8Array(4096);
    box.svm.memory.read(VMSA_PAGE, first);
    expect(box.run()).toBe(ExitCode.HLT);
    box.svm.memory.read(VMSA_PAGE, second);
    expect(second).not.toEqual(first);
    expect(box.openVmsa().rbx).toBe(6n);
  });

  it('replayed makes VMRUN fail', () => {
    const box = build('sev-es', 'hlt\n hlt\n hlt');
    box.run();
    const old = new Uint8Array(4096);
    box.svm.memory.read(VMSA_PAGE, old);
    box.run();
    box.svm.memory.write(VMSA_PAGE, old);
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('moved to another page makes VMRUN fail: the tweak is of another address', () => {
    const box = build('sev-es', 'hlt\n hlt');
    box.run();
    const bytes = new Uint8Array(4096);
    box.svm.memory.read(VMSA_PAGE, bytes);
    box.svm.memory.write(0xd000 as never, bytes);
    box.vmcb.vmsaPointer = 0xd000n;
    expect(box.run()).toBe(ExitCode.INVALID);
  });

  it('whose key was replaced makes VMRUN fail', () => {
    const box = build('sev-es', 'hlt\n hlt');
    box.run();
    box.encryption.setKey(1, new Uint8Array(16));
    expect(box.run()).toBe(ExitCode.INVALID);
    box.encryption.setKey(1, new Uint8Array(16).fill(0x5a));
    expect(box.run()).toBe(ExitCode.HLT);
  });

  it('names no integrity value outside of the trusted memory', () => {
    const box = build('sev-es', 'hlt');
    const slot = new Uint8Array(8);
    box.frames.readSecure(SLOT, 0, slot);
    box.svm.memory.read(SLOT as never, slot);
    expect([...slot]).toEqual(new Array(8).fill(0xff));
    // The same VMSA with its value in memory that the host can write.
    const value = { low: 0, high: 0 };
    box.vmsa.integritySlot = 0xd000n;
    const bytes = box.vmsaBytes;
    vmsaIntegrity(bytes, 0, value);
    const other = box.svm.memory.page(0xd000 as never);
    other.setU32(0, value.low);
    other.setU32(4, value.high);
    box.frames.write(VMSA_PAGE, 1, bytes);
    expect(box.run()).toBe(ExitCode.INVALID);
    expect(box.svm.refusal).toContain('integrity');
  });

  it('keeps every register, those of floating point too', () => {
    const box = build('sev-es', 'hlt\n hlt');
    box.vmsa.x87Fcw = 0x37f;
    box.vmsa.x87Ftw = 0xfffc;
    box.vmsa.pkru = 0x5555;
    box.vmsa.tscAux = 77;
    box.vmsa.r15 = 0xfedc_ba98_7654_3210n;
    box.vmsa.rflags = 0xed7n;
    box.vmsa.sCet = 0x1234n; // not a register of ours: the bytes stay
    box.sealVmsa();
    box.run();
    const after = box.openVmsa();
    expect(hex(after.x87Fcw)).toBe('37f');
    expect(hex(after.x87Ftw)).toBe('fffc');
    expect(hex(after.pkru)).toBe('5555');
    expect(after.tscAux).toBe(77);
    expect(hex(after.r15)).toBe('fedcba9876543210');
    expect(hex(after.rflags)).toBe('ed7');
    expect(hex(after.sCet)).toBe('1234');
  });
});
