// Where the manuals of AMD, or the setting, ask for something else than what Bochs does. Each entry says by which words, and turns the
// line of Bochs into the one that cbit must print: so a known difference is still a test.

export type KnownDifference = {
  readonly program: string;
  /** Of the case. */
  readonly name: string | RegExp;
  /** What cbit prints: a whole line, or what to replace in that of Bochs. */
  readonly cbit: string | readonly [RegExp, string];
  readonly reason: string;
};

const stackNotPresent = 'APM vol. 2, 8.2.12: a stack segment that is not present is #SS. (Bochs says so for RETF.)';
const pushedSegment =
  'APM vol. 3, PUSH: the selector is zero-extended to the operand size; Bochs writes 16 bits, as some processors of others do.';
const vipAndVif = 'APM vol. 2, 8.10: the instructions that would set VIF while VIP is set fault; Bochs checks before every instruction.';
const pdptes =
  'APM vol. 2, 15.25.10: under nested paging PDPTEs are not read by MOV CR3 and MOV CR0, but walked, and a bad one is a page fault.';
const sysenter = 'APM vol. 3, SYSENTER and SYSEXIT: #UD in long mode.';
const keys = 'APM vol. 2, 5.6.7: the access-disable bit holds for every data access to a user page, whatever the CPL.';
const accessed = 'No manual says with how wide a write the accessed bit of a descriptor is set: CR2 names the first byte of it.';
const frame = 'No manual says in which order the words of a frame are written: CR2 names the first one that is.';

export const knownDifferences: readonly KnownDifference[] = [
  { program: 'segment-loads', name: 'push ds', cbit: [/eax=ffff0010/, 'eax=10'], reason: pushedSegment },
  {
    program: 'segment-limits',
    name: 'stack popad at e4',
    cbit: [/$/, ' ebx=0 ecx=0 edx=0 esi=0 edi=0 ebp=0'],
    reason: 'No manual says that POPA changes nothing before a fault: recorded on Zen 5, registers that were read keep what was read.',
  },
  { program: 'transfers', name: 'iretd outer, ss not present', cbit: [/^#0b/, '#0c'], reason: stackNotPresent },
  {
    program: 'transfers',
    name: 'iretd to v86 with eip above 64k',
    cbit: '#0d e=0 0008+2d 10002 0010:24fdc',
    reason: 'APM vol. 2, 8.2.14: a transfer beyond the limit of the code segment is #GP; the limit is FFFFh in virtual-8086 mode.',
  },
  {
    program: 'interrupts',
    name: '#gp during #db does not become #df',
    cbit: [/e=1 /, 'e=0 '],
    reason: 'APM vol. 2, 8.4.1: EXT is for events from outside the program; INT1 is an instruction.',
  },
  {
    program: 'tasks',
    name: 'new task, cs rpl 3 dpl 0',
    cbit: [/eax=10/, 'eax=8'],
    reason: 'No manual gives an order for the checks of the new segments: CS comes before SS here.',
  },
  { program: 'virtual-8086', name: 'vme: cli with vip', cbit: '#06 1000+1 130202 v4000,4000,4000,4000,2000:8000', reason: vipAndVif },
  {
    program: 'virtual-8086',
    name: 'vme: popf with vip clears',
    cbit: '#06 1000+4 130002 v4000,4000,4000,4000,2000:8000',
    reason: vipAndVif,
  },
  { program: 'paging-32', name: /^descriptor in a read-only page, wp/, cbit: [/cr2=400005/, 'cr2=400004'], reason: accessed },
  { program: 'paging-32', name: /^pae: pdpte bit [125678], mov cr3$/, cbit: 'ok 0008+b 2 0010:25000 eax=30000 ecx=30000', reason: pdptes },
  { program: 'paging-32', name: 'pae: pdpte bit 63, mov cr3', cbit: 'ok 0008+8 2 0010:25000 eax=30000', reason: pdptes },
  { program: 'paging-32', name: 'pae: bad pdpte, mov cr0 sets pg', cbit: 'ok 0008+a 2 0010:25000 eax=80000011', reason: pdptes },
  {
    program: 'paging-32',
    name: 'smap: implicit access with ac',
    cbit: '#0e e=1 0008+5 50002 0010:25000 cr2=400000 32007,40007 eax=7',
    reason: 'APM vol. 2, 5.6.6: RFLAGS.AC does not permit the accesses that the processor makes by itself, such as to descriptor tables.',
  },
  {
    program: 'control',
    name: 'dr7 reserved bits',
    cbit: [/ecx=c00/, 'ecx=400'],
    reason: 'APM vol. 2, 13.1.1.4: bit 11 of DR7 is reserved.',
  },
  {
    program: 'control',
    name: 'disabled breakpoint that matches is not reported',
    cbit: [/dr6=ffff0ff3/, 'dr6=ffff0ff2'],
    reason: 'APM vol. 2, 13.1.1.3: B3 to B0 report conditions that DR7 enables.',
  },
  {
    program: 'control',
    name: 'i/o breakpoint',
    cbit: 'ok 0008+5 2 0010:25000',
    reason:
      'Not of the processor: the hypervisor intercepts port 80h and executes the OUT itself (APM vol. 2, 15.10), without debug registers.',
  },
  {
    program: 'long-mode',
    name: /^(ist|inner stack) not canonical$/,
    cbit: [/e=[12]0/, 'e=0'],
    reason: 'APM vol. 2, 8.2.13: the error code of a stack address that is not canonical is 0.',
  },
  { program: 'long-mode', name: /^#pf while pushing( #ud)?$/, cbit: [/cr2=80000000f8/, 'cr2=80000000d8'], reason: frame },
  {
    program: 'long-mode',
    name: 'iretq to compatibility mode cuts rip',
    cbit: '#0d e=0 8+21 10002 10:24fd8 rax=0',
    reason: 'APM vol. 2, 8.2.14: a transfer beyond the limit of the code segment is #GP; Bochs takes the low half of RIP.',
  },
  { program: 'long-mode', name: 'iretq ss not present', cbit: [/^#0b/, '#0c'], reason: stackNotPresent },
  {
    program: 'long-mode',
    name: 'iretd in 64-bit mode',
    cbit: [/10:24ff8/, '10:25000'],
    reason: 'APM vol. 2, 8.9.4: in 64-bit mode IRET pops SS:rSP always; Bochs does not with 32-bit operands.',
  },
  {
    program: 'long-mode',
    name: 'far jump of 64 bits',
    cbit: '#0d e=0 8+0 10002 10:25000',
    reason: 'APM vol. 3, JMP (Far): a far pointer has an offset of 16 or 32 bits; REX.W changes nothing.',
  },
  {
    program: 'long-mode',
    name: 'near jump with a 66 prefix',
    cbit: '#0d e=0 8~3 10002 10:25000',
    reason: 'APM vol. 3, JMP (Near): an operand-size prefix makes the target 16 bits wide in 64-bit mode, too.',
  },
  {
    program: 'long-mode',
    name: 'lar with a type above',
    cbit: 'ok 8+a 42 10:25000 rax=cf8900 rdx=90',
    reason: 'APM vol. 3, LAR: reads the lower half of a system descriptor only.',
  },
  {
    program: 'long-mode',
    name: 'sfmask upper half',
    cbit: '#0d e=0 8+f 10002 10:25000 rax=200 rcx=c0000084 rdx=1',
    reason: 'APM vol. 2, 6.1.1: bits 63:32 of SFMASK are reserved; Bochs drops them.',
  },
  {
    program: 'long-mode',
    name: 'sysretq to a rip that is not canonical',
    cbit: '#0d e=0 2b:800000000000 10002 23:25000 rcx=800000000000',
    reason: 'APM vol. 3, SYSRET: no check; the fault comes at the target, in ring 3.',
  },
  { program: 'long-mode', name: 'sysenter', cbit: '#06 2b+0 10002 23:28000', reason: sysenter },
  { program: 'long-mode', name: 'sysenter in compatibility mode', cbit: '#06 1b+0 10002 23:28000', reason: sysenter },
  { program: 'long-mode', name: 'sysexit', cbit: '#06 8+0 10002 10:25000', reason: sysenter },
  {
    program: 'paging-64',
    name: 'pml4e bit 8',
    cbit: '#0e e=9 8+a 10002 10:25000 cr2=8000000000,107,7,7,7 rbp=8000000000',
    reason: 'APM vol. 2, 5.3.3 (figure of the PML4E): bits 8 and 7 must be zero.',
  },
  {
    program: 'paging-64',
    name: 'fxsave to an absent page',
    cbit: [/cr2=8000000000,/, 'cr2=80000001ff,'],
    reason: 'No manual says which byte is touched first: recorded on Zen 5, the last one.',
  },
  {
    program: 'real-mode',
    name: 'fld m80 at fff8',
    cbit: '#0d 1000+8 2 2000:8000 ebx=fff8',
    reason: 'APM vol. 2, 8.2.14: ten bytes from FFF8h on exceed the limit; Bochs looks at each half.',
  },
  {
    program: 'newer-features',
    name: 'keys: ad, ring0 read',
    cbit: '#0e e=21 8+a 10002 10:25000 cr2=8000000000,7,7,7,7 rbp=8000000000',
    reason: keys,
  },
  {
    program: 'newer-features',
    name: 'keys: ad, ring0 write',
    cbit: '#0e e=23 8+a 10002 10:25000 cr2=8000000000,7,7,7,7 rbp=8000000000',
    reason: keys,
  },
];
