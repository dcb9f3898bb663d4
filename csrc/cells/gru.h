// Gated recurrent unit, Cho et al. 2014, in the variant of torch.nn.GRU and cuDNN: the reset gate
// scales W_hn·h + b_hn after the product. Gate order r z n.
#pragma once

#include "../math.h"

namespace rnn {

struct Gru {
    static constexpr const char* name = "gru";
    static constexpr int gates = 3;
    static constexpr int saved = 4;  // r z n and W_hn·h + b_hn
    static constexpr bool has_c = false;
    static constexpr bool splits = true;
    static constexpr bool mixes = true;

    template <class V>
    static RNN_HD V forward(const V* gx, const V* gh, V h, V& /*c*/, V* s) {
        V r = s[0] = sigmoid(gx[0] + gh[0]);
        V z = s[1] = sigmoid(gx[1] + gh[1]);
        V n = s[2] = tanh(gx[2] + r * gh[2]);
        s[3] = gh[2];
        return n + z * (h - n);
    }

    template <class V>
    static RNN_HD V backward(const V* s, V h, V /*c_prev*/, V /*c*/, V dh, V& /*dc*/, V* dgx,
                             V* dgh) {
        V r = s[0], z = s[1], n = s[2], a = s[3], one(1);
        dgx[2] = dh * (one - z) * (one - n * n);
        dgh[2] = dgx[2] * r;
        dgx[0] = dgh[0] = dgx[2] * a * r * (one - r);
        dgx[1] = dgh[1] = dh * (h - n) * z * (one - z);
        return dh * z;
    }
};

}  // namespace rnn
