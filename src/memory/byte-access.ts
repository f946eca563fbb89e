// Reading and writing any range of system physical memory, page by page, through frames and their watches.

import { PAGE_SIZE } from '../util/address.ts';
import type { Frames } from './frames.ts';

/** No frame: there is no memory, or it is fenced. As a frame number to read from, all ones (Frames.VOID_FRAME). */
const NONE = 0;

/** What lies beyond DRAM or behind a fence reads as all ones. */
export function readBytes(frames: Frames, spa: number, key: number, into: Uint8Array, secure: boolean): void {
  const { u8 } = frames.memory;
  for (let done = 0; done < into.length; ) {
    const page = Math.floor((spa + done) / PAGE_SIZE);
    const offset = spa + done - page * PAGE_SIZE;
    const length = Math.min(PAGE_SIZE - offset, into.length - done);
    const frame = page < frames.pageCount ? frames.view(page, key, secure) : NONE;
    const at = frames.address(frame) + offset;
    into.set(u8.subarray(at, at + length), done);
    done += length;
  }
}

/** What lies beyond DRAM or behind a fence is lost. */
export function writeBytes(frames: Frames, spa: number, key: number, from: Uint8Array, secure: boolean): void {
  const { u8 } = frames.memory;
  for (let done = 0; done < from.length; ) {
    const page = Math.floor((spa + done) / PAGE_SIZE);
    const offset = spa + done - page * PAGE_SIZE;
    const length = Math.min(PAGE_SIZE - offset, from.length - done);
    const frame = page < frames.pageCount ? frames.own(page, key, secure) : NONE;
    if (frame !== NONE) {
      frames.stored(frame, offset, length);
      u8.set(from.subarray(done, done + length), frames.address(frame) + offset);
    }
    done += length;
  }
}
