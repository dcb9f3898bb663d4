// The simple recurrent unit of Elman 1990, as torch.nn.RNN defines it with the nonlinearity tanh.
#pragma once

#include "../math.h"

namespace rnn {

struct RnnTanh {
    static constexpr const char* name = "rnn_tanh";
    static constexpr int gates = 1;
    static constexpr int saved = 1;  // the new hidden state, not rounded
    static constexpr bool has_c = false;
    static constexpr bool splits = false;
    static constexpr bool mixes = false;

    template <class V>
    static RNN_HD V forward(const V* gx, const V* gh, V /*h*/, V& /*c*/, V* s) {
        return s[0] = tanh(gx[0] + gh[0]);
    }

    template <class V>
    static RNN_HD V backward(const V* s, V /*h*/, V /*c_prev*/, V /*c*/, V dh, V& /*dc*/, V* dgx,
                             V* dgh) {
        V one(1);
        dgx[0] = dgh[0] = dh * (one - s[0] * s[0]);
        return V(0);
    }
};

}  // namespace rnn
