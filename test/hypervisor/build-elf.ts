// Writes ELF64 files field by field, so that a test can get any one of them wrong.

import { ElfHeader, ProgramHeader } from '../../src/hypervisor/images/elf.ts';
import { BytesPort } from '../../src/util/struct.ts';

type SegmentFields = {
  readonly type?: number;
  readonly vaddr?: bigint;
  readonly paddr: bigint;
  readonly content: readonly number[] | Uint8Array;
  readonly offset?: bigint;
  readonly filesz?: bigint;
  readonly memsz?: bigint;
  readonly align?: bigint;
};

type ElfFields = {
  readonly class?: number;
  readonly data?: number;
  readonly identVersion?: number;
  readonly type?: number;
  readonly machine?: number;
  readonly version?: number;
  readonly entry?: bigint;
  readonly phoff?: bigint;
  readonly ehsize?: number;
  readonly phentsize?: number;
  readonly phnum?: number;
  readonly segments: readonly SegmentFields[];
};

export function buildElf(fields: ElfFields): Uint8Array {
  const { segments } = fields;
  const headers = ElfHeader.size + segments.length * ProgramHeader.size;
  const bytes = new Uint8Array(headers + segments.reduce((sum, { content }) => sum + content.length, 0));
  bytes.set([0x7f, 0x45, 0x4c, 0x46]);
  const header = ElfHeader(new BytesPort(bytes));
  header.class = fields.class ?? 2;
  header.data = fields.data ?? 1;
  header.identVersion = fields.identVersion ?? 1;
  header.type = fields.type ?? 2;
  header.machine = fields.machine ?? 62;
  header.version = fields.version ?? 1;
  header.entry = fields.entry ?? segments[0]?.vaddr ?? segments[0]?.paddr ?? 0n;
  header.phoff = fields.phoff ?? BigInt(ElfHeader.size);
  header.ehsize = fields.ehsize ?? ElfHeader.size;
  header.phentsize = fields.phentsize ?? ProgramHeader.size;
  header.phnum = fields.phnum ?? segments.length;
  let at = headers;
  segments.forEach((segment, i) => {
    const start = ElfHeader.size + i * ProgramHeader.size;
    const program = ProgramHeader(new BytesPort(bytes.subarray(start, start + ProgramHeader.size)));
    program.type = segment.type ?? 1;
    program.flags = 7;
    program.offset = segment.offset ?? BigInt(at);
    program.vaddr = segment.vaddr ?? segment.paddr;
    program.paddr = segment.paddr;
    program.filesz = segment.filesz ?? BigInt(segment.content.length);
    program.memsz = segment.memsz ?? BigInt(segment.content.length);
    program.align = segment.align ?? 1n;
    bytes.set(segment.content, at);
    at += segment.content.length;
  });
  return bytes;
}
