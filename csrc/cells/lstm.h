// Long short-term memory, Hochreiter & Schmidhuber 1997 with the forget gate of Gers et al. 2000,
// as torch.nn.LSTM defines it. Gate order i f g o.
#pragma once

#include "../math.h"

namespace rnn {

struct Lstm {
    static constexpr const char* name = "lstm";
    static constexpr int gates = 4;
    static constexpr int saved = 4;  // i f g o
    static constexpr bool has_c = true;
    static constexpr bool splits = false;
    static constexpr bool mixes = false;

    template <class V>
    static RNN_HD V forward(const V* gx, const V* gh, V /*h*/, V& c, V* s) {
        V i = s[0] = sigmoid(gx[0] + gh[0]);
        V f = s[1] = sigmoid(gx[1] + gh[1]);
        V g = s[2] = tanh(gx[2] + gh[2]);
        V o = s[3] = sigmoid(gx[3] + gh[3]);
        c = f * c + i * g;
        return o * tanh(c);
    }

    template <class V>
    static RNN_HD V backward(const V* s, V /*h*/, V c_prev, V c, V dh, V& dc, V* dgx, V* dgh) {
        V i = s[0], f = s[1], g = s[2], o = s[3], one(1), m = tanh(c);
        dc = dc + dh * o * (one - m * m);
        dgx[0] = dgh[0] = dc * g * i * (one - i);
        dgx[1] = dgh[1] = dc * c_prev * f * (one - f);
        dgx[2] = dgh[2] = dc * i * (one - g * g);
        dgx[3] = dgh[3] = dh * m * o * (one - o);
        dc = dc * f;
        return V(0);
    }
};

}  // namespace rnn
