// What a launch needs to know of an image, whatever its format: which bytes go where, and where execution begins.

import { UserError } from '../../util/errors.ts';

/** The decoding mode in which a guest starts. */
export type StartMode = 16 | 32 | 64;

/** One piece of the image in guest physical memory; behind `bytes`, zeros up to `size`. */
export type Segment = { readonly start: number; readonly size: number; readonly bytes: Uint8Array };

/** What the person may choose: a mode of our own entry, or somebody else's protocol. */
export type StartChoice = StartMode | 'multiboot' | 'pvh';

export type Image = {
  readonly format: 'ELF64' | 'ELF32' | 'Multiboot' | 'PVH' | 'bzImage' | 'flat' | 'ROM';
  /** Who says what the guest finds when it starts. */
  readonly protocol: 'cbit' | 'multiboot' | 'pvh' | 'linux' | 'reset';
  /** Ascending, not overlapping, inside guest memory. */
  readonly segments: readonly Segment[];
  /** Guest physical address of the first instruction. */
  readonly entry: number;
  readonly mode: StartMode;
  /** Multiboot: what the header asks for. */
  readonly multiboot?: { readonly pageAlign: boolean; readonly video: boolean };
  readonly linux?: LinuxHeader;
  /** Multiboot: where the file has its ELF section headers. */
  readonly sections?: { readonly offset: bigint; readonly size: number; readonly count: number; readonly names: number };
};

/** What a Linux kernel's setup header says. */
export type LinuxHeader = {
  /** For the page of parameters. */
  readonly header: { readonly start: number; readonly bytes: Uint8Array };
  /** Behind what the kernel unpacks itself to. */
  readonly end: number;
  readonly initrdAddrMax: number;
  readonly cmdlineSize: number;
};

/** What the person may say about where an image goes and how it starts. */
export type Placement = {
  readonly load?: number | undefined;
  readonly entry?: number | undefined;
  readonly mode?: StartChoice | undefined;
};

/** The same for our own entry. */
export type OwnPlacement = Omit<Placement, 'mode'> & { readonly mode?: StartMode | undefined };

/** Sorts segments and refuses those that overlap or lie outside memory. Sizes and starts are exact: bigint until proven small. */
export function placeSegments(
  name: string,
  memory: number,
  found: readonly { start: bigint; size: bigint; bytes: Uint8Array; what: string }[],
): Segment[] {
  const sorted = [...found].sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  let end = 0n;
  let before = '';
  return sorted.map(({ start, size, bytes, what }) => {
    if (start + size > BigInt(memory)) {
      throw new UserError(
        `${name}: ${what} takes ${hex(start)} to ${hex(start + size)}, outside the guest's memory of ${hex(BigInt(memory))} bytes: give it more with --memory, or link the image lower`,
      );
    }
    if (start < end) {
      throw new UserError(
        `${name}: ${what} at ${hex(start)} overlaps ${before}, which ends at ${hex(end)}: give each its own physical address`,
      );
    }
    end = start + size;
    before = what;
    return { start: Number(start), size: Number(size), bytes };
  });
}

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;
