// The hot forms: those that stand inline in the interpreter's one function, one example encoding of each by mnemonic (register,
// [rbx+8] and [rbx+rsi*4+8] variants; branches within the page and out of it). Chosen by what OVMF, Linux and busybox execute:
// these are some 99% of it, string instructions apart; and what compilers make of computations, with double-precision numbers, too. The
// function must stay below 8,192 virtual registers of V8 (interpreter.ts): some 340 of these forms, of which those of floating point count threefold.

import { InstructionDecoder } from '../x86/decode.ts';
import { type Form, formKey } from '../x86/form.ts';

const encodings: Readonly<Record<string, string>> = {
  Cmovb: '0f42ca 480f42ca 480f424b08',
  Setb: '0f92c1 0f924308',
  Cmovae: '0f43ca 480f43ca 480f434b08 0f434b08',
  Setae: '0f93c1',
  Cmove: '0f44ca 480f44ca 480f444b08 0f444b08',
  Sete: '0f94c1 0f944308',
  Cmovne: '0f45ca 480f45ca 480f454b08',
  Setne: '0f95c1 0f954308',
  Cmovbe: '0f46ca 480f46ca 0f464b08',
  Setbe: '0f96c1',
  Cmova: '0f47ca 480f47ca 480f474b08',
  Seta: '0f97c1',
  Cmovs: '0f48ca 480f48ca 480f484b08',
  Sets: '0f98c1',
  Cmovns: '0f49ca 480f49ca',
  Setns: '0f99c1',
  Cmovl: '0f4cca 480f4cca',
  Setl: '0f9cc1',
  Cmovge: '0f4dca 480f4dca',
  Setge: '0f9dc1',
  Cmovle: '0f4eca 480f4eca',
  Setle: '0f9ec1',
  Cmovg: '0f4fca 480f4fca',
  Setg: '0f9fc1',
  Nop: '0f1f4008 0f1f44b308 660f1f44b308 90',
  Jmp: 'ff64b308 eb0e e90b100000 ffe1 ff6308',
  Movsx: '0fbf4b08 0fbf4cb308 0fbe4b08 0fbeca 0fbfca 480fbeca 0fbe4cb308 480fbe4b08 480fbe4cb308',
  Movsxd: '48634b08 48634cb308 4863ca',
  Not: 'f7d1 48f7d1',
  Movzx: '0fb64cb308 0fb74cb308 0fb6ca 0fb64b08 0fb7ca 0fb74b08',
  Lea: '8d4cb308 488d4cb308 488d4b08 8d4b08',
  Imul: '0fafca 480fafca 6bca05 486bca05 0faf4b08 0faf4cb308 480faf4b08',
  Mov: '4889d1 48895308 488954b308 89d1 895308 8954b308 488b4b08 488b4cb308 8b4b08 8b4cb308 b905000000 6689d1 66895308 668954b308 8aca 8a4b08 8a4cb308 885308 8854b308 48c7c105000000 48c7430805000000 48c744b30805000000 c6c105 c6430805 c644b30805 c7430805000000 c744b30805000000 668b4b08 668b4cb308',
  Jne: '750e 0f850a100000',
  Cmp: '4839d1 48395308 483954b308 39d1 395308 3954b308 81f905000000 817b0805000000 817cb30805000000 6683f905 66837b0805 66837cb30805 4883f905 48837b0805 48837cb30805 80f905 807b0805 807cb30805 3aca 3a4b08 3a4cb308 3b4b08 3b4cb308 483b4b08 483b4cb308 385308 3854b308 6639d1',
  Add: '4801d1 48015308 480154b308 4883c105 4883430805 488344b30805 01d1 015308 0154b308 83c105 83430805 8344b30805 034b08 034cb308 48034b08 48034cb308',
  Je: '740e 0f840a100000',
  Sub: '29d1 295308 2954b308 4883e905 48836b0805 48836cb30805 4829d1 48295308 482954b308 83e905 836b0805 836cb30805 482b4b08 482b4cb308',
  Push: '51 ff7308 6805000000',
  Pop: '59',
  Shr: 'c1e905 48c1e905 d3e9 48d3e9',
  Rol: 'c1c105 48c1c105',
  Ror: 'c1c905 48c1c905',
  Bswap: '0fc9 480fc9',
  Call: 'e80b000000 e80b100000 ffd1 ff5308',
  Inc: '48ffc1 48ff4308 ffc1 ff4308 fec1 fe4308',
  Ja: '770e 0f870a100000',
  Ret: 'c3',
  Jae: '730e 0f830a100000',
  Test: '84d1 845308 4885d1 48855308 85d1 855308 f6c105 f6430805 f7c105000000 f7430805000000 48f7c105000000 48f7430805000000 6685d1 66855308',
  Jb: '720e 0f820a100000',
  Xor: '30d1 31d1 315308 3154b308 4831d1 48315308 483154b308 334b08 334cb308 48334b08 48334cb308 83f105 83730805 8374b30805',
  And: '21d1 215308 4821d1 48215308 83e105 83630805 4883e105 4883630805 48234b08 80e105 80630805',
  Jbe: '0f860a000000 0f860a100000',
  Jns: '790e 0f890a100000',
  Shl: 'c1e105 48c1e105 d3e1 48d3e1',
  Bt: '0fbae105',
  Dec: 'ffc9 ff4b08 48ffc9 48ff4b08',
  Sar: 'c1f905 48c1f905 d3f9 48d3f9',
  Or: '4809d1 48095308 09d1 095308 83c905 834b0805 0b4b08 480b4b08 4883c905 48834b0805 80c905 804b0805 08d1 085308',
  Jle: '7e0e 0f8e0a100000',
  Jl: '7c0e 0f8c0a100000',
  Sbb: '19d1',
  Js: '780e 0f880a100000',
  Pushfq: '9c',
  Neg: 'f7d9 48f7d9',
  Cdqe: '4898',
  Xchg: '4887d1 48875308',
  Jg: '7f0e 0f8f0a100000',
  Jge: '0f8d0a000000 0f8d0a100000',
  Leave: 'c9',
  Cdq: '99',
  Cqo: '4899',
  Movsd: 'f20f104b08 f20f104cb308 f20f114b08 f20f114cb308',
  Movaps: '0f28ca 0f284b08 0f294b08',
  Movups: '0f104b08 0f114b08',
  Unpcklpd: '660f14ca',
  Addpd: '660f58ca 660f584b08',
  Mulpd: '660f59ca 660f594b08',
  Pxor: '660fefca',
  Addsd: 'f20f58ca f20f584b08',
  Subsd: 'f20f5cca f20f5c4b08',
  Mulsd: 'f20f59ca f20f594b08 f20f594cb308',
  Cvtsi2sd: 'f20f2aca',
  Cvttsd2si: 'f20f2cca',
};

/** Offset in its page at which each example is decoded: branch targets were chosen for it. */
const PLACE = 0x800;
const MOST = 340;

export function hotForms(): Form[] {
  const decoder = new InstructionDecoder();
  const forms = new Map<string, Form>();
  for (const list of Object.values(encodings)) {
    for (const hex of list.split(' ')) {
      const bytes = Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
      decoder.decode(bytes, PLACE, 64, ({ form }) => {
        if (forms.size < MOST) forms.set(formKey(form), form);
        return false;
      });
    }
  }
  return [...forms.values()];
}
