import { describe, expect, it } from 'vitest';
import { findingLines } from '../../src/cli/findings.ts';
import { unpainted } from '../../src/debug/canvas.ts';
import type { Finding } from '../../src/sanitizer/finding.ts';

const finding = (rip: number, text = 'it went wrong', rule = 'taint-address', times = 1): Finding => ({
  rule,
  side: 'guest',
  rip: BigInt(rip),
  exit: 'CPUID',
  text,
  at: 1000 + rip,
  times,
});
const shown = (findings: readonly Finding[]): string =>
  findingLines(findings, (rip) => (rip === 2n ? 'there+0x2' : null), 120, unpainted).join('\n');

describe('findings on a terminal', () => {
  it('say that there are none', () => {
    expect(shown([])).toBe('Findings\n  none');
  });

  it('name rule, place, event and mend once', () => {
    expect(
      shown([finding(2, 'it went wrong', 'taint-address', 3)])
        .split('\n')
        .slice(0, 4),
    ).toEqual([
      'Findings: 1',
      '  taint-address: an access that the hypervisor steers   (guest; GHCB 4.1)',
      '    there+0x2 at RIP 0x2, CPUID: it went wrong (after 1,002 instructions, 3 times)',
      expect.stringMatching(/^ {4}Mend: Read it once/),
    ]);
  });

  it('put places of one cause behind the first', () => {
    const places = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((rip) => finding(rip));
    expect(shown(places)).toContain('\n      the same at there+0x2, 0x3, 0x4, 0x5, 0x6, 0x7 and 2 more\n');
    expect(shown(places).match(/it went wrong/g)).toHaveLength(1);
  });

  it('are cut off where there are too many causes', () => {
    const causes = Array.from({ length: 20 }, (_, n) => finding(n, `cause ${n}`));
    expect(shown(causes)).toContain('cause 7');
    expect(shown(causes)).not.toContain('cause 8');
    expect(shown(causes)).toContain('\n    and 12 more\n');
  });
});
