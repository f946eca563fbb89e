// Where records are found: by page and offset, whatever else is in the same line of the page.

import { describe, expect, it } from 'vitest';
import { RecordIndex } from '../../src/cpu/record-index.ts';
import { Record, RECORD_SIZE } from '../../src/x86/record.ts';
import { smallMemory } from '../memory/fixture.ts';

const OFFSETS = [0, 1, 5, 63, 64, 70, 4095];

function made() {
  const memory = smallMemory();
  const index = new RecordIndex(memory);
  let top = memory.records;
  const add = (page: number, offset: number): number => {
    const record = top;
    top += RECORD_SIZE;
    // The length stands in the bits above the offset.
    memory.view.setUint16(record + Record.PLACE, offset | (3 << 12), true);
    index.add(page, offset, record);
    return record;
  };
  return { memory, index, add };
}

describe('the index of records', () => {
  it('finds each record of a page by its offset, and none where none is', () => {
    const { index, add } = made();
    const page = index.open();
    const records = OFFSETS.map((offset) => add(page, offset));
    expect(OFFSETS.map((offset) => index.find(page, offset))).toEqual(records);
    expect([2, 62, 65, 4094].map((offset) => index.find(page, offset))).toEqual([0, 0, 0, 0]);
  });

  it('keeps pages apart', () => {
    const { index, add } = made();
    const [one, two] = [index.open(), index.open()];
    const first = add(one, 16);
    const second = add(two, 16);
    expect([index.find(one, 16), index.find(two, 16)]).toEqual([first, second]);
  });

  it('forgets a record that is taken out, from the beginning, the middle and the end of its line', () => {
    for (const gone of [0, 1, 2]) {
      const { index, add } = made();
      const page = index.open();
      const offsets = [8, 16, 24];
      const records = offsets.map((offset) => add(page, offset));
      index.remove(page, offsets[gone]!);
      expect(offsets.map((offset) => index.find(page, offset))).toEqual(records.map((record, n) => (n === gone ? 0 : record)));
    }
  });

  it('takes nothing out where no record is', () => {
    const { index, add } = made();
    const page = index.open();
    const record = add(page, 8);
    index.remove(page, 9);
    index.remove(page, 800);
    expect(index.find(page, 8)).toBe(record);
  });

  it('gives the chains of a closed page out again, empty', () => {
    const { index, add } = made();
    const page = index.open();
    add(page, 8);
    index.close(page);
    const other = index.open();
    expect(other).toBe(page);
    expect(index.find(other, 8)).toBe(0);
  });

  it('grows with the pages, and is empty once cleared', () => {
    const { index, add } = made();
    const pages = Array.from({ length: 300 }, () => index.open());
    const records = pages.map((page) => add(page, page));
    expect(pages.map((page) => index.find(page, page))).toEqual(records);
    index.clear();
    const again = pages.map(() => index.open());
    expect(again.every((page) => index.find(page, page) === 0)).toBe(true);
  });
});
