"""The equation of every family, in the notation of its docstring; see `mathml.py`."""

_GAN = r"\min_G \max_D \quad \E_x[\log D(x)] + \E_z[\log(1 - D(G(z)))]"
_PIXELS = r"p(x) = \prod_i p(x_{i,R} \mid x_{<i}) p(x_{i,G} \mid x_{<i}, x_{i,R})"
_PIXELS += r" p(x_{i,B} \mid x_{<i}, x_{i,R}, x_{i,G})"

EQUATIONS = {
    "fvsbn": r"p(x_d = 1 \mid x_{<d}) = \sigma(b_d + \sum_{j<d} W_{dj} x_j)",
    "nade": r"\log p(x) = \sum_d \log p(x_d \mid x_{<d})\\"
    r"a_1 = c, \quad h_d = \sigma(a_d), \quad a_{d+1} = a_d + x_d W_d\\"
    r"p(x_d = 1 \mid x_{<d}) = \sigma(b_d + V_d h_d)",
    "made": r"h = \sigma(b + (W \odot M) x), \quad M_{kd} = 1 \text{ where } m(k) \ge d\\"
    r"p(x_d = 1 \mid x_{<d}) = \sigma(c + (V \odot M') h)_d",
    "orderless_nade": r"a = c + W (m \odot x) + M m\\"
    r"p(x_i = 1 \mid x_m) = \sigma(b_i + V_i h), \quad h = \sigma(U \sigma(a) + c')",
    "rnade": r"p(x_d \mid x_{<d}) = \sum_k \pi_{dk} N(x_d; \mu_{dk}, \sigma_{dk}^2)\\"
    r"a_{d+1} = a_d + x_d W_d, \quad h_d = \max(0, \rho_d a_d)",
    "pixelcnn": _PIXELS,
    "pixelcnn_pp": r"p(x) = \prod_i \sum_k \pi_k \prod_c p(x_{i,c} \mid x_{i,<c}, k)",
    "pixelrnn": _PIXELS,
    "joint": r"p(x) = \frac{n_x + \alpha}{N + \alpha 2^D}",
    "markov": r"p(x) = \prod_i p(x_i \mid x_{c(i)}), \quad"
    r" p(x_i = 1 \mid c) = \frac{n_{c1} + \alpha_i}{n_c + 2 \alpha_i}",
    "mixture": r"p(x) = \sum_k w_k \prod_d \mu_{kd}^{x_d} (1 - \mu_{kd})^{1 - x_d}",
    "vae": r"\log p(x) \ge \E_{q(z \mid x)}[\log p(x \mid z)] - \KL(q(z \mid x) \norm p(z))",
    "hierarchical_vae": r"p(x, h_1, \ldots, h_L) = p(h_L) p(h_{L-1} \mid h_L) \ldots"
    r" p(h_1 \mid h_2) p(x \mid h_1)",
    "m2": r"\log p(x, y) \ge \E_{q(z \mid x, y)}[\log p(x \mid y, z)] + \log p(y)"
    r" - \KL(q(z \mid x, y) \norm p(z))\\"
    r"\log p(x) \ge \sum_y q(y \mid x) (-L(x, y) - \log q(y \mid x))",
    "dvae": r"z = \text{encoder}(x), \quad t = \text{quantizer}(z), \quad"
    r" p(x \mid t) = \text{decoder}(\text{codes of } t)",
    "gan": _GAN,
    "dcgan": _GAN,
    "infogan": r"\min_{G,Q} \max_D \quad V(D, G) - \lambda L_I(G, Q)\\"
    r"L_I = \E[\log q(c \mid G(z, c))] + \H(c)",
    "cyclegan": r"L = L_{GAN}(G, D_Y) + L_{GAN}(F, D_X) + \lambda L_{cyc}\\"
    r"L_{cyc} = \E_x \norm F(G(x)) - x \norm_1 + \E_y \norm G(F(y)) - y \norm_1",
    "pix2pix": r"\min_G \max_D \quad \E[\log D(x, y)] + \E[\log(1 - D(x, G(x)))]"
    r" + \lambda \E \norm y - G(x) \norm_1",
    "stargan": r"L_D = -L_{adv} + \lambda_{cls} L_{cls}(x, c)\\"
    r"L_G = L_{adv} + \lambda_{cls} L_{cls}(G(x, c'), c')"
    r" + \lambda_{rec} \norm x - G(G(x, c'), c) \norm_1",
    "progressive": r"L_D = D(G(z)) - D(x) + 10 (\norm \nabla D(\hat{x}) \norm - 1)^2"
    r" + 0.001 D(x)^2\\L_G = -D(G(z))",
    "jigsaw": r"L_G = L_{focal} + \log(1 - D(\hat{x})) + \lambda (2 - S_{tb} - S_{lr})",
    "jigsaw_assignment": r"P = \text{sinkhorn}(S + \sum_{\text{directions}}"
    r" C P A^\top + C^\top P A)\\L = -\frac{1}{N} \sum_k \log P_{k, \text{position of } k}",
    "puzzle_gan": r"\text{first maps of part } k = W z_k, \quad z = (z_1, \ldots, z_K)",
    "joint_embedding": r"L = \max(0, 1 + s(v, t') - s(v, t)) + \max(0, 1 + s(v', t) - s(v, t))",
    "dalle": r"p(t, z) = \prod_i p(t_i \mid t_{<i}) \prod_j p(z_j \mid t, z_{<j})\\"
    r"p(x \mid t) = \sum_z p(x \mid z) p(z \mid t)",
    "gan_cls": r"L_D = -\log D(x, t) - \frac{1}{2} \log(1 - D(x', t))"
    r" - \frac{1}{2} \log(1 - D(G(z, t), t))\\L_G = -\log D(G(z, t), t)",
}
